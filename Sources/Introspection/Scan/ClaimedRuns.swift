import GuestFilesystems

/// Blocks that the scan has come to know of, with what is needed to follow them.
struct WantedRun: Hashable, Sendable {
    /// What they are and whose.
    var run: MetadataRun
    /// The first block's place in the owner's file, in blocks.
    var logicalBlock: UInt64
    /// What the owner's contents are.
    var contents: BlockClass
    /// How the owner's contents are found.
    var mapping: ExtInode.Mapping

    /// What an inode or one of its nodes points at.
    init(_ blocks: ExtBlockRun, _ role: ExtInodeRole) {
        self.init(blocks, owner: role.number, contents: role.contents, mapping: role.mapping)
    }

    init(_ blocks: ExtBlockRun, owner: UInt32, contents: BlockClass, mapping: ExtInode.Mapping) {
        // The resize inode's indirect blocks are the reserved descriptors, which have their fixed places.
        let isContents = blocks.level == 0 || blocks.level == 1 && contents == .groupDescriptor
        run = MetadataRun(
            block: blocks.block, count: blocks.count, blockClass: isContents ? contents : .indirect,
            level: isContents ? 0 : blocks.level, owner: owner,
            pointsAtMetadata: blocks.level > 1 || blocks.level == 1 && contents.isMetadata && !isContents)
        logicalBlock = blocks.logicalBlock
        self.contents = contents
        self.mapping = mapping
    }

    /// A block of extended attributes.
    init(attributeBlock block: UInt64, owner: UInt32) {
        run = MetadataRun(block: block, count: 1, blockClass: .extendedAttribute, owner: owner, isShared: true)
        logicalBlock = 0
        contents = .extendedAttribute
        mapping = .none
    }

    /// Whether the blocks are metadata, as opposed to a file's contents.
    var isMetadata: Bool { run.blockClass.isMetadata && run.blockClass != .groupDescriptor }

    /// The part of the run that starts `skipped` blocks in.
    func part(from skipped: UInt64, count: UInt64) -> WantedRun {
        var part = self
        part.run.block += skipped
        part.run.count = UInt32(truncatingIfNeeded: count)
        part.logicalBlock += skipped
        return part
    }
}

/// Runs of metadata, sorted and disjoint: whoever comes first has a block.
///
/// This is what keeps a scan from following a loop: a block that was claimed is not looked at again.
struct ClaimedRuns: Sendable {
    /// The runs, sorted by block.
    private(set) var runs: [MetadataRun]
    /// Blocks that were claimed again by another owner or as another class.
    private(set) var conflictCount: UInt64 = 0
    /// The first of them: who came second.
    private(set) var firstConflict: MetadataRun?

    init(_ runs: [MetadataRun] = []) {
        self.runs = []
        _ = claim(runs.map(WantedRun.init(fixed:)))
    }

    /// The runs here and others, which are sorted and disjoint from them, in order.
    func adding(_ others: [MetadataRun]) -> [MetadataRun] {
        var copy = self
        copy.merge(others)
        return copy.runs
    }

    /// Claims what is free of `wanted`, and returns that in the order of blocks.
    mutating func claim(_ wanted: [WantedRun]) -> [WantedRun] {
        let wanted = wanted.sorted(by: WantedRun.precedes)
        var accepted: [WantedRun] = []
        accepted.reserveCapacity(wanted.count)
        var next = runs.startIndex
        // Everything from the start of a candidate to here is claimed, by `covering` or by what that met.
        var coveredEnd: UInt64 = 0
        var covering: MetadataRun?
        for candidate in wanted {
            var position = candidate.run.block
            if let covering, coveredEnd > position {
                position = min(coveredEnd, candidate.run.end)
                note(candidate.run, against: covering, blocks: position - candidate.run.block)
            }
            while next < runs.endIndex, runs[next].end <= position { next += 1 }
            while position < candidate.run.end {
                let obstacle = next < runs.endIndex ? runs[next] : nil
                let end = min(obstacle?.block ?? candidate.run.end, candidate.run.end)
                if end > position {
                    accepted.append(candidate.part(from: position - candidate.run.block, count: end - position))
                    position = end
                }
                guard let obstacle, position < candidate.run.end else { break }
                let blocked = min(obstacle.end, candidate.run.end)
                note(candidate.run, against: obstacle, blocks: blocked - position)
                position = blocked
                if position >= obstacle.end { next += 1 }
            }
            if candidate.run.end > coveredEnd {
                coveredEnd = candidate.run.end
                covering = candidate.run
            }
        }
        merge(accepted.map(\.run))
        return accepted
    }

    /// Counts a conflict, unless the two agree: inodes share blocks of extended attributes.
    private mutating func note(_ run: MetadataRun, against other: MetadataRun, blocks: UInt64) {
        if run.blockClass == other.blockClass, run.isShared && other.isShared || run.owner == 0 { return }
        conflictCount += blocks
        firstConflict = firstConflict ?? run
    }

    /// Puts sorted runs, disjoint from each other and from those here, in their places.
    private mutating func merge(_ added: [MetadataRun]) {
        guard !added.isEmpty else { return }
        var merged: [MetadataRun] = []
        merged.reserveCapacity(runs.count + added.count)
        var old = runs.startIndex
        for run in added {
            while old < runs.endIndex, runs[old].block < run.block {
                Self.append(runs[old], to: &merged)
                old += 1
            }
            Self.append(run, to: &merged)
        }
        for run in runs[old...] { Self.append(run, to: &merged) }
        runs = merged
    }

    private static func append(_ run: MetadataRun, to runs: inout [MetadataRun]) {
        if let last = runs.last, last.end == run.block, last.blockClass == run.blockClass, last.owner == run.owner,
            last.level == run.level, !last.isShared, !run.isShared, let count = last.count.adding(run.count)
        {
            runs[runs.endIndex - 1].count = count
        } else {
            runs.append(run)
        }
    }
}

extension WantedRun {
    /// A run of the file system's fixed structures.
    fileprivate init(fixed run: MetadataRun) {
        self.run = run
        logicalBlock = 0
        contents = run.blockClass
        mapping = .none
    }

    /// The order of blocks; where two runs start together, an order that does not depend on who found them.
    fileprivate static func precedes(_ left: WantedRun, _ right: WantedRun) -> Bool {
        if left.run.block != right.run.block { return left.run.block < right.run.block }
        if left.run.level != right.run.level { return left.run.level > right.run.level }
        if left.run.owner != right.run.owner { return left.run.owner < right.run.owner }
        if left.run.count != right.run.count { return left.run.count > right.run.count }
        return left.run.blockClass.rawValue < right.run.blockClass.rawValue
    }
}

extension UInt32 {
    fileprivate func adding(_ other: UInt32) -> UInt32? {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? nil : sum
    }
}
