/// Blocks of extended attributes. Many inodes may share one (with SELinux, all of a directory tree), so which inodes
/// they are is not kept: such a block stays what it is until the bitmap frees it, another inode claims it as
/// something else, or what is written to it shows that it is something else.
extension FileSystemMap {
    /// The most claims that are remembered.
    static let attributeClaimLimit = 16_384

    /// Takes note of what `inode` claims as extended attributes now.
    ///
    /// - Parameter changed: Called with the ranges that may have changed their class.
    /// - Returns: Blocks that `inode` no longer claims: they may be something else, and their content tells (see
    ///   ``dropAttributes(at:changed:)``).
    mutating func claimAttributes(
        _ blocks: [UInt64], of inode: UInt32, changed: (Range<UInt64>) -> Void
    ) -> [UInt64] {
        for block in blocks where block < blockCount {
            claimAttributes(block, of: inode, changed: changed)
        }
        guard !attributeClaims.isEmpty else { return [] }
        var doubtful: [UInt64] = []
        var next = attributeClaims.firstPosition(after: .init(owner: inode, block: 0))
        var given: [OwnerEntry.Key] = []
        while let position = next, attributeClaims[position].key.owner == inode {
            let key = attributeClaims[position].key
            // An inode names one block of attributes at most.
            if !blocks.contains(key.block) { given.append(key) }
            next = attributeClaims.position(after: position)
        }
        for key in given {
            attributeClaims.remove(key)
            let others = attributeClaimants[key.block, default: 1] - 1
            attributeClaimants[key.block] = others > 0 ? others : nil
            guard others <= 0 else { continue }
            if allocation.isAllocated(key.block) {
                doubtful.append(key.block)
            } else {
                _ = dropAttributes(at: key.block, changed: changed)
            }
        }
        return doubtful
    }

    /// The inode that claimed `block` as extended attributes; nil when the block is something else.
    func attributeOwner(of block: UInt64) -> UInt32? {
        guard let position = dynamic.lastPosition(notAfter: block), dynamic[position].block == block,
            dynamic[position].isShared
        else { return nil }
        return dynamic[position].owner
    }

    /// Makes `block` no block of extended attributes any more. Returns what was taken from others for it.
    mutating func dropAttributes(at block: UInt64, changed: (Range<UInt64>) -> Void) -> [Conflict] {
        guard let owner = attributeOwner(of: block) else { return [] }
        dynamic.remove(block)
        changed(block..<block + 1)
        return takeSettledConflicts(of: owner)
    }

    /// Makes `block` one of extended attributes again, as its content says, after another inode that claimed it has
    /// given it up; `inode` is one that claimed it before. Nothing happens when the block is something else or free.
    mutating func restoreAttributes(at block: UInt64, of inode: UInt32, changed: (Range<UInt64>) -> Void) {
        guard block < blockCount, allocation.isAllocated(block),
            piece(at: block, limit: block + 1).blockClass == .data
        else { return }
        dynamic.insert(DynamicRun(attributeBlock: block, owner: inode))
        remember(OwnerEntry(owner: inode, block: block))
        changed(block..<block + 1)
    }

    /// Drops the blocks of extended attributes in `range` that are not allocated. To be called when the bitmap has
    /// changed there.
    mutating func dropFreedAttributes(in range: Range<UInt64>) {
        var freed: [UInt64] = []
        var next = dynamic.lastPosition(notAfter: range.lowerBound) ?? dynamic.firstPosition
        while let position = next, dynamic[position].block < range.upperBound {
            let run = dynamic[position]
            if run.isShared, run.block >= range.lowerBound, !allocation.isAllocated(run.block) {
                freed.append(run.block)
            }
            next = dynamic.position(after: position)
        }
        for block in freed { dynamic.remove(block) }
    }

    private mutating func claimAttributes(
        _ block: UInt64, of inode: UInt32, changed: (Range<UInt64>) -> Void
    ) {
        let claim = OwnerEntry(owner: inode, block: block)
        if attributeOwner(of: block) != nil {
            if !allocation.isAllocated(block) { remember(claim) }
            return
        }
        var isFixed = true
        forEachUnfixed(in: block..<block + 1) { _ in isFixed = false }
        guard !isFixed else { return }
        takeFromOthers(MetadataRun(block: block, count: 1, blockClass: .extendedAttribute, owner: inode))
        dynamic.insert(DynamicRun(attributeBlock: block, owner: inode))
        claimPending(block..<block + 1)
        remember(claim)
        changed(block..<block + 1)
    }

    private mutating func remember(_ claim: OwnerEntry) {
        // Without them an old claim may outlive its inode until the block is written or freed.
        if attributeClaims.count >= Self.attributeClaimLimit {
            attributeClaims = SortedChunks()
            attributeClaimants = [:]
        }
        let count = attributeClaims.count
        attributeClaims.insert(claim)
        if attributeClaims.count > count { attributeClaimants[claim.key.block, default: 0] += 1 }
    }
}
