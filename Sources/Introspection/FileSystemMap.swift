/// The class of every block of one file system.
///
/// What a block is, is asked in this order:
/// 1. the fixed structures, a few merged runs that mkfs laid down;
/// 2. the metadata that inodes own (directories, indirect blocks, …), as sorted runs;
/// 3. the blocks that were written while nothing claimed them: pending;
/// 4. the allocation bits, copied from the block bitmaps: data or free.
///
/// An entry of the second part takes 16 bytes, and 12 more in the index by owner, which lets all runs of an inode be
/// replaced at once. No two runs share a block: when a second inode claims a block it takes it from the first, and
/// the map remembers that the two disagree (see ``setRuns(of:_:digest:changed:)``).
struct FileSystemMap: Sendable {
    /// The largest block number that an entry can hold, plus one: ext4's own limit.
    static let blockLimit: UInt64 = 1 << 48
    /// Claims of one block by two inodes that are remembered; a sane file system has few, and those briefly.
    static let conflictLimit = 4096

    /// The size of a block in bytes.
    let blockSize: Int
    /// The number of blocks, at most ``blockLimit``.
    let blockCount: UInt64
    /// Sorted, without overlap.
    private let fixed: [FixedRun]
    var dynamic = SortedChunks<DynamicRun>()
    var owners = SortedChunks<OwnerEntry>()
    var digests = SortedChunks<RootDigest>()
    var conflicts: [Conflict] = []
    /// Whether there were more conflicts than can be remembered: the map may be wrong.
    var lostConflicts = false
    /// Which blocks the block bitmaps call allocated.
    var allocation: AllocationBits
    /// Blocks written while free. The tag counts how often since then a written bitmap has still called them free.
    var pending = BlockRunSet()

    /// A map with nothing but `fixed` runs, in any order; where two overlap the first given counts. All blocks that no
    /// run covers are free.
    init(blockSize: Int, blockCount: UInt64, fixed runs: [MetadataRun]) {
        precondition(blockSize > 0 && blockCount <= Self.blockLimit)
        self.blockSize = blockSize
        self.blockCount = blockCount
        allocation = AllocationBits(blockCount: blockCount)
        fixed = Self.flatten(runs, blockCount: blockCount)
    }

    /// Bytes that the map takes.
    var memoryBytes: Int {
        fixed.capacity * MemoryLayout<FixedRun>.stride + dynamic.memoryBytes + owners.memoryBytes
            + digests.memoryBytes + allocation.memoryBytes + pending.memoryBytes
            + conflicts.capacity * MemoryLayout<Conflict>.stride + MemoryLayout<Self>.size
    }

    /// The class of `block`; unknown outside the file system.
    func blockClass(of block: UInt64) -> BlockClass {
        guard block < blockCount else { return .unknown }
        var blockClass = BlockClass.unknown
        forEachClass(in: block..<block + 1) { blockClass = $1 }
        return blockClass
    }

    /// Calls `body` with consecutive runs, neighbours of one class merged, that cover `range` cut to the file system.
    func forEachClass(in range: Range<UInt64>, _ body: (Range<UInt64>, BlockClass) -> Void) {
        var merged = range.lowerBound..<range.lowerBound
        var mergedClass = BlockClass.unknown
        forEachPiece(in: range) { piece in
            if piece.blockClass == mergedClass {
                merged = merged.lowerBound..<piece.range.upperBound
                return
            }
            if !merged.isEmpty { body(merged, mergedClass) }
            merged = piece.range
            mergedClass = piece.blockClass
        }
        if !merged.isEmpty { body(merged, mergedClass) }
    }

    /// Consecutive blocks that one part of the map answers for.
    struct Piece {
        var range: Range<UInt64>
        var blockClass: BlockClass
        /// The owner, for metadata that an inode owns.
        var owner: UInt32 = 0
        /// Whether what is in the blocks decides the class of other blocks.
        var pointsAtMetadata = false
    }

    /// Calls `body` with consecutive pieces that cover `range` cut to the file system.
    func forEachPiece(in range: Range<UInt64>, _ body: (Piece) -> Void) {
        let limit = min(range.upperBound, blockCount)
        var block = range.lowerBound
        guard block < limit else { return }
        var fixedIndex = fixed.partitioningIndex { $0.end > block }
        var dynamicPosition = dynamic.lastPosition(notAfter: block) ?? dynamic.firstPosition
        while block < limit {
            var end = limit
            while fixedIndex < fixed.count, fixed[fixedIndex].end <= block { fixedIndex += 1 }
            if fixedIndex < fixed.count {
                let run = fixed[fixedIndex]
                if run.block <= block {
                    end = min(end, run.end)
                    body(Piece(range: block..<end, blockClass: run.blockClass, pointsAtMetadata: true))
                    block = end
                    continue
                }
                end = min(end, run.block)
            }
            while let position = dynamicPosition, dynamic[position].end <= block {
                dynamicPosition = dynamic.position(after: position)
            }
            if let position = dynamicPosition {
                let run = dynamic[position]
                if run.block <= block {
                    end = min(end, run.end)
                    body(
                        Piece(
                            range: block..<end, blockClass: run.blockClass, owner: run.owner,
                            pointsAtMetadata: run.pointsAtMetadata))
                    block = end
                    continue
                }
                end = min(end, run.block)
            }
            block = forEachUnclaimed(in: block..<end, body)
        }
    }

    /// Calls `body` for blocks that are no metadata: one piece, from the start of `range`. Returns the piece's end.
    private func forEachUnclaimed(in range: Range<UInt64>, _ body: (Piece) -> Void) -> UInt64 {
        let block = range.lowerBound
        var end = range.upperBound
        if !pending.isEmpty, let run = pending.firstRun(endingAfter: block) {
            if run.block <= block {
                end = min(end, run.end)
                body(Piece(range: block..<end, blockClass: .pending))
                return end
            }
            end = min(end, run.block)
        }
        end = allocation.endOfRun(from: block, limit: end)
        body(Piece(range: block..<end, blockClass: allocation.isAllocated(block) ? .data : .free))
        return end
    }

    /// Calls `body` with the parts of `range` that no fixed structure takes and that are in the file system.
    func forEachUnfixed(in range: Range<UInt64>, _ body: (Range<UInt64>) -> Void) {
        let limit = min(range.upperBound, blockCount)
        var block = range.lowerBound
        var index = fixed.partitioningIndex { $0.end > block }
        while block < limit {
            guard index < fixed.count, fixed[index].block < limit else {
                body(block..<limit)
                return
            }
            if block < fixed[index].block { body(block..<fixed[index].block) }
            block = fixed[index].end
            index += 1
        }
    }

    /// Adds the blocks of each class to `totals`, in bytes.
    func addTotals(to totals: inout ClassTotals) {
        forEachClass(in: 0..<blockCount) { range, blockClass in
            totals[blockClass] += range.count * blockSize
        }
    }

    private static func flatten(_ runs: [MetadataRun], blockCount: UInt64) -> [FixedRun] {
        var taken = BlockRunSet()
        for run in runs where run.block < blockCount {
            let range = run.block..<min(run.end, blockCount)
            var gaps: [Range<UInt64>] = []
            var next = range.lowerBound
            taken.forEach(in: range) { piece, _ in
                if next < piece.lowerBound { gaps.append(next..<piece.lowerBound) }
                next = piece.upperBound
            }
            if next < range.upperBound { gaps.append(next..<range.upperBound) }
            for gap in gaps {
                taken.insert(gap, tag: UInt32(run.blockClass.rawValue))
            }
        }
        var fixed: [FixedRun] = []
        fixed.reserveCapacity(taken.runCount)
        taken.forEach { run in
            let blockClass = BlockClass(rawValue: UInt8(truncatingIfNeeded: run.tag)) ?? .unknown
            fixed.append(FixedRun(block: run.block, count: run.count, blockClass: blockClass))
        }
        return fixed
    }
}

extension FileSystemMap {
    /// A run of blocks that mkfs laid down.
    struct FixedRun: Sendable {
        var block: UInt64
        var count: UInt32
        var blockClass: BlockClass

        var end: UInt64 { block + UInt64(count) }
    }

    /// A run of metadata that an inode owns, in 16 bytes.
    struct DynamicRun: Keyed {
        /// The block number in the upper 48 bits, then the class in 8, whether the contents decide the class of
        /// other blocks in one, and the level.
        private var packed: UInt64
        var count: UInt32
        var owner: UInt32

        init(block: UInt64, count: UInt32, like run: MetadataRun) {
            packed = block << 16 | UInt64(run.blockClass.rawValue) << 8 | UInt64(run.level & 0x7f)
            if run.pointsAtMetadata { packed |= 0x80 }
            self.count = count
            owner = run.owner
        }

        var key: UInt64 { block }
        var block: UInt64 { packed >> 16 }
        var end: UInt64 { block + UInt64(count) }
        var blockClass: BlockClass { BlockClass(rawValue: UInt8(truncatingIfNeeded: packed >> 8)) ?? .unknown }
        var pointsAtMetadata: Bool { packed & 0x80 != 0 }
        var metadataRun: MetadataRun {
            MetadataRun(
                block: block, count: count, blockClass: blockClass, level: UInt8(packed & 0x7f), owner: owner,
                pointsAtMetadata: pointsAtMetadata)
        }
    }

    /// Says that a run of an inode begins at a block, in 12 bytes.
    struct OwnerEntry: Keyed {
        struct Key: Comparable, BitwiseCopyable, Sendable {
            var owner: UInt32
            var block: UInt64

            static func < (left: Key, right: Key) -> Bool {
                left.owner == right.owner ? left.block < right.block : left.owner < right.owner
            }
        }

        private var owner: UInt32
        private var blockLow: UInt32
        private var blockHigh: UInt32

        init(owner: UInt32, block: UInt64) {
            self.owner = owner
            blockLow = UInt32(truncatingIfNeeded: block)
            blockHigh = UInt32(truncatingIfNeeded: block >> 32)
        }

        var key: Key { Key(owner: owner, block: UInt64(blockHigh) << 32 | UInt64(blockLow)) }
    }

    /// What an inode's own pointers were when it was walked, as a hash.
    struct RootDigest: Keyed {
        var owner: UInt32
        var digest: UInt32

        var key: UInt32 { owner }
    }

    /// Two inodes that claimed one block.
    struct Conflict: BitwiseCopyable, Sendable {
        var winner: UInt32
        var loser: UInt32
    }
}
