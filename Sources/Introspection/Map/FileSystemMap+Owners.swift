extension FileSystemMap {
    /// The runs that `inode` owns, sorted.
    func runs(of inode: UInt32) -> [MetadataRun] {
        runs(of: inode, after: 0, limit: .max)
    }

    /// Whether `inode` owns any metadata.
    func hasRuns(_ inode: UInt32) -> Bool {
        guard let position = owners.firstPosition(after: .init(owner: inode, block: 0)) else { return false }
        return owners[position].key.owner == inode
    }

    /// Whether the inode's own pointers are those that its runs were made of.
    ///
    /// - Parameters:
    ///   - roots: What the inode itself points at, canonical (see ``canonical(_:)``), without extended attributes.
    ///   - digest: Its hash (see ``digest(of:)``).
    func isUnchanged(_ inode: UInt32, roots: [MetadataRun], digest: UInt32) -> Bool {
        if let position = digests.lastPosition(notAfter: inode), digests[position].owner == inode {
            return digests[position].digest == digest
        }
        let known = self.runs(of: inode, after: 0, limit: roots.count + 1)
        return known == roots
    }

    /// Fills an empty map at once with what a scan found: `runs` that share no block, in any order.
    ///
    /// - Parameter roots: What inodes themselves point at, sorted by owner; what equals an inode's runs costs no
    ///   memory.
    mutating func load(_ runs: [MetadataRun], roots: [MetadataRun]) {
        var sorted = runs.filter { !$0.isShared }
        sorted.sort { ($0.owner, $0.block) < ($1.owner, $1.block) }
        let roots = roots.filter { !$0.isShared }
        var ready: [MetadataRun] = []
        var rootDigests: [RootDigest] = []
        var (start, rootStart) = (0, 0)
        while start < sorted.count {
            let owner = sorted[start].owner
            let end = sorted[start...].firstIndex { $0.owner != owner } ?? sorted.count
            let own = clipped(Array(sorted[start..<end]), of: owner)
            while rootStart < roots.count, roots[rootStart].owner < owner { rootStart += 1 }
            let rootEnd = roots[rootStart...].firstIndex { $0.owner != owner } ?? roots.count
            let ownRoots = Self.canonical(Array(roots[rootStart..<rootEnd]))
            if ownRoots != own {
                rootDigests.append(RootDigest(owner: owner, digest: Self.digest(of: ownRoots)))
            }
            ready += own
            (start, rootStart) = (end, rootEnd)
        }
        owners = SortedChunks(sorted: ready.map { OwnerEntry(owner: $0.owner, block: $0.block) })
        digests = SortedChunks(sorted: rootDigests)
        var entries = ready.map { DynamicRun(block: $0.block, count: $0.count, like: $0) }
        for run in runs where run.isShared && run.block < blockCount {
            entries.append(DynamicRun(attributeBlock: run.block, owner: run.owner))
        }
        entries.sort { $0.block < $1.block }
        dynamic = SortedChunks(sorted: entries)
    }

    /// Makes `runs` all that `inode` owns: drops what it owned before.
    ///
    /// Blocks of fixed structures stay what they are. A block that another inode owns changes hands; when this inode
    /// gives it up again, the other one's claim has to be looked at once more: of the two, one was old or nonsense.
    ///
    /// - Parameters:
    ///   - runs: In any order, without extended attributes; they are cut to the file system.
    ///   - digest: The hash of the inode's roots, or nil when `runs` are the roots.
    ///   - changed: Called with the ranges that may have changed their class.
    /// - Returns: What `inode` once took from others and has given up.
    mutating func setRuns(
        of inode: UInt32, _ runs: [MetadataRun], digest: UInt32?, changed: (Range<UInt64>) -> Void
    ) -> [Conflict] {
        var update = OwnedRunsUpdate(of: inode, runs, digest: digest)
        while !update.step(&self, changed: changed) {}
        return update.settledConflicts
    }

    /// Runs sorted, with neighbours that differ in nothing else joined.
    static func canonical(_ runs: [MetadataRun]) -> [MetadataRun] {
        var result: [MetadataRun] = []
        result.reserveCapacity(runs.count)
        for run in runs.sorted(by: { $0.block < $1.block }) where run.count > 0 {
            if let last = result.last, last.end == run.block, last.blockClass == run.blockClass,
                last.level == run.level, last.owner == run.owner, last.pointsAtMetadata == run.pointsAtMetadata,
                UInt64(last.count) + UInt64(run.count) <= BlockRunSet.longestRun
            {
                result[result.count - 1].count += run.count
            } else {
                result.append(run)
            }
        }
        return result
    }

    /// A hash of canonical runs: 32 bits of FNV-1a over 64-bit words, mixed. The same in every process.
    static func digest(of runs: [MetadataRun]) -> UInt32 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ word: UInt64) {
            hash = (hash ^ word).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15).low
            hash ^= hash >> 29
        }
        for run in runs {
            add(run.block)
            add(UInt64(run.count) << 32 | UInt64(run.blockClass.rawValue) << 8 | UInt64(run.level))
        }
        return UInt32(truncatingIfNeeded: hash >> 32)
    }

    /// The runs that `inode` owns from after `block` on, sorted, `limit` of them at most.
    func runs(of inode: UInt32, after block: UInt64, limit: Int) -> [MetadataRun] {
        var runs: [MetadataRun] = []
        var next = owners.firstPosition(after: .init(owner: inode, block: block))
        while runs.count < limit, let position = next, owners[position].key.owner == inode {
            if let run = dynamic.lastPosition(notAfter: owners[position].key.block) {
                runs.append(dynamic[run].metadataRun)
            }
            next = owners.position(after: position)
        }
        return runs
    }

    /// `runs` in canonical form, without what is outside the file system, in fixed structures, or there twice.
    private func clipped(_ runs: [MetadataRun], of inode: UInt32) -> [MetadataRun] {
        var result: [MetadataRun] = []
        var next: UInt64 = 1
        for run in Self.canonical(runs) {
            appendUnfixed(of: run, from: next, inode, to: &result)
            next = max(next, run.end)
        }
        return result
    }

    /// Appends the parts of `run` from block `start` on that are in the file system and in no fixed structure, as ones of
    /// `inode`.
    func appendUnfixed(of run: MetadataRun, from start: UInt64, _ inode: UInt32, to runs: inout [MetadataRun]) {
        guard run.end > start, run.block < blockCount else { return }
        forEachUnfixed(in: max(run.block, start)..<run.end) { range in
            var piece = run
            piece.block = range.lowerBound
            piece.count = UInt32(range.count)
            piece.owner = inode
            runs.append(piece)
        }
    }

    /// Takes the blocks of `run` from the inodes that own them, and remembers that they were taken; from `limit` runs at
    /// most. Returns whether that was all.
    @discardableResult
    mutating func takeFromOthers(_ run: MetadataRun, limit: Int = .max) -> Bool {
        var left = limit
        var position = dynamic.lastPosition(notAfter: run.block) ?? dynamic.firstPosition
        while let found = position {
            let other = dynamic[found]
            guard other.block < run.end else { return true }
            guard left > 0 else { return false }
            left -= 1
            guard other.end > run.block else {
                position = dynamic.position(after: found)
                continue
            }
            let start = max(run.block, other.block)
            remember(
                Conflict(
                    winner: run.owner, loser: other.owner, count: UInt32(min(run.end, other.end) - start),
                    block: start, wereAttributes: other.isShared))
            dynamic.remove(other.block)
            if !other.isShared {
                owners.remove(.init(owner: other.owner, block: other.block))
            }
            let parts = [other.block..<max(other.block, run.block), min(other.end, run.end)..<other.end]
            for part in parts where !part.isEmpty {
                dynamic.insert(
                    DynamicRun(block: part.lowerBound, count: UInt32(part.count), like: other.metadataRun))
                owners.insert(OwnerEntry(owner: other.owner, block: part.lowerBound))
            }
            position = dynamic.lastPosition(notAfter: run.block) ?? dynamic.firstPosition
        }
        return true
    }

    private mutating func remember(_ conflict: Conflict) {
        guard !lostConflicts else { return }
        guard conflicts.count < Self.conflictLimit else {
            lostConflicts = !conflicts.contains(conflict)
            return
        }
        conflicts.insert(conflict)
    }

    /// Takes out the conflicts over blocks that `winner` won and does not have any more.
    mutating func takeSettledConflicts(of winner: UInt32) -> [Conflict] {
        guard !conflicts.isEmpty else { return [] }
        let settled = conflicts.filter { conflict in
            guard conflict.winner == winner else { return false }
            let end = conflict.block + UInt64(conflict.count)
            let piece = piece(at: conflict.block, limit: end)
            return piece.owner != winner || piece.end != end
        }
        conflicts.subtract(settled)
        return settled.sorted { ($0.block, $0.loser) < ($1.block, $1.loser) }
    }
}
