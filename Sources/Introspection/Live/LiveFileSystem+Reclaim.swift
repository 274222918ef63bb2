import GuestFilesystems

/// Which blocks the guest has freed for good: invariant 7 of `docs/design.md`.
extension LiveFileSystem {
    /// The last commit of which a write that arrives now may be told that it came after it; nil when that is not known.
    var lastCommitSeen: UInt32? {
        guard let follower = journal?.follower, !follower.hasGaps else { return nil }
        switch follower.position {
        case .lost: return nil
        // The log is empty: the superblock names the next transaction.
        case .empty: return follower.newestCommit ?? follower.superblock.sequence &- 1
        case .following(_, let sequence): return follower.newestCommit ?? sequence &- 1
        }
    }

    /// Takes note for reclamation that `blocks` were written.
    ///
    /// - Parameter isKnown: false when they may have been written at any time since the scan.
    func noteWrite(of blocks: Range<UInt64>, isKnown: Bool) {
        guard journal != nil else { return }
        let commit = isKnown ? lastCommitSeen : nil
        journal?.committed.insert(blocks, commit: commit)
    }

    /// Takes note for reclamation that `blocks` were written in place, should they be bitmaps or descriptors.
    ///
    /// What no journal told of before is not the mounted file system's doing, but e2fsck's or resize2fs's: nothing is
    /// reclaimed from then on, until a scan has looked at everything.
    func noteAllocationWritten(in blocks: Range<UInt64>, _ blockClass: BlockClass) {
        guard journal != nil, blockClass == .blockBitmap || blockClass == .groupDescriptor else { return }
        let isForetold = blocks.allSatisfy { journal?.foretold.contains($0) == true }
        if !isForetold { journal?.committed.freeze() }
    }

    /// Calls `body` with the parts of `range` that may be punched as of the last commit that was taken over.
    ///
    /// None in file systems without a journal that is followed, with features whose bitmaps or blocks mean something
    /// else, and while anything waits to be digested.
    func forEachReclaimable(in range: Range<UInt64>, _ body: (Range<UInt64>) -> Void) {
        let superblock = geometry.superblock
        guard let journal, let commit = journal.follower.lastCommit, !journal.follower.hasWork,
            !journal.follower.hasGaps, journal.follower.position != .lost, undigested.isEmpty, !journal.carriesData,
            superblock.blocksPerCluster == 1, !superblock.compatible.contains(.fastCommit),
            !superblock.readOnlyCompatible.contains(.sharedBlocks)
        else { return }
        journal.committed.forEachSettled(in: range, at: commit) { part in
            map.forEachClass(in: part) { blocks, blockClass in
                if blockClass == .free { body(blocks) }
            }
        }
    }
}
