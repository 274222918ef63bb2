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
/// the map remembers that the two disagree (see ``setRuns(of:_:digest:changed:)``). Blocks of extended attributes,
/// which many inodes may share, are not in the index by owner (see ``claimAttributes(_:of:changed:)``).
struct FileSystemMap: ~Copyable, Sendable {
    /// The largest block number that an entry can hold, plus one: ext4's own limit.
    static let blockLimit: UInt64 = 1 << 48
    /// The most blocks that are looked up in one step: their bits are gone through in some microseconds.
    static let longestStep: UInt64 = 1 << 18
    /// Claims of one block by two inodes that are remembered; a sane file system has few, and those briefly.
    static let conflictLimit = 4096

    /// The size of a block in bytes.
    let blockSize: Int
    /// The number of blocks, at most ``blockLimit``.
    let blockCount: UInt64
    /// Sorted, without overlap.
    var fixed: [FixedRun]
    var dynamic = SortedChunks<DynamicRun>()
    var owners = SortedChunks<OwnerEntry>()
    var digests = SortedChunks<RootDigest>()
    /// Claims of blocks of extended attributes that may turn out to be old: those that made the block what it is, or
    /// came before the block was allocated.
    var attributeClaims = SortedChunks<OwnerEntry>()
    /// How many of these there are of each block.
    var attributeClaimants: [UInt64: Int] = [:]
    var conflicts: Set<Conflict> = []
    /// Whether there were more conflicts than can be remembered: the map may be wrong.
    var lostConflicts = false
    /// Which blocks the block bitmaps call allocated.
    var allocation: AllocationBits
    /// Blocks that nothing claims though they were written, or named by a journal; see ``PendingTag``.
    var pending = BlockRunSet()
    /// What became of pending blocks.
    var deferred = DeferredBlocks()

    /// A map without dynamic metadata. The `fixed` runs are in any order; where two overlap the first given counts.
    init(blockSize: Int, allocation: AllocationBits, fixed runs: [MetadataRun]) {
        precondition(blockSize > 0 && allocation.blockCount <= Self.blockLimit)
        self.blockSize = blockSize
        self.allocation = allocation
        blockCount = allocation.blockCount
        fixed = Self.flatten(runs, blockCount: allocation.blockCount)
    }

    /// Bytes that the map takes.
    var memoryBytes: Int {
        fixed.capacity * MemoryLayout<FixedRun>.stride + dynamic.memoryBytes + owners.memoryBytes
            + digests.memoryBytes + attributeClaims.memoryBytes + allocation.memoryBytes + pending.memoryBytes
            + conflicts.capacity * MemoryLayout<Conflict>.stride + MemoryLayout<Self>.size
    }

    /// The class of `block`; unknown outside the file system.
    func blockClass(of block: UInt64) -> BlockClass {
        block < blockCount ? piece(at: block, limit: block + 1).blockClass : .unknown
    }

    /// Calls `body` with consecutive runs, neighbours of one class merged, that cover `range` cut to the file system.
    func forEachClass(in range: Range<UInt64>, _ body: (Range<UInt64>, BlockClass) -> Void) {
        let limit = min(range.upperBound, blockCount)
        var start = range.lowerBound
        guard start < limit else { return }
        var last = piece(at: start, limit: limit)
        while last.end < limit {
            let next = piece(at: last.end, limit: limit)
            if next.blockClass != last.blockClass {
                body(start..<last.end, last.blockClass)
                start = last.end
            }
            last = next
        }
        body(start..<last.end, last.blockClass)
    }

    /// As ``forEachClass(in:_:)``, for `pieces` of the map at most, each of which comes by itself; returns where to go on.
    func forEachClass(
        in range: Range<UInt64>, pieces: Int, _ body: (Range<UInt64>, BlockClass) -> Void
    ) -> UInt64 {
        var block = range.lowerBound
        return forEachPiece(in: range, limit: pieces) { piece in
            body(block..<piece.end, piece.blockClass)
            block = piece.end
        }
    }

    /// Calls `body` with pieces that cover `range` cut to the file system, `limit` of them at most; returns where to go on.
    func forEachPiece(in range: Range<UInt64>, limit: Int, _ body: (Piece) -> Void) -> UInt64 {
        let end = min(range.upperBound, blockCount)
        var block = range.lowerBound
        for _ in 0..<limit where block < end {
            let piece = piece(at: block, limit: min(end, block + Self.longestStep))
            body(piece)
            block = piece.end
        }
        return block < end ? block : range.upperBound
    }

    /// Consecutive blocks that one part of the map answers for, from a block that was asked for.
    struct Piece {
        /// The first block after the piece.
        var end: UInt64
        var blockClass: BlockClass
        /// Whether mkfs laid the blocks down.
        var isFixed = false
        /// The owner, for metadata that an inode owns.
        var owner: UInt32 = 0
        /// Whether what is in the blocks decides the class of other blocks.
        var pointsAtMetadata = false

        /// Whether nothing says more of the blocks than the bitmap does.
        var isUnclaimed: Bool {
            switch blockClass {
            case .data, .free, .pending: true
            default: false
            }
        }
    }

    /// What `block` is, and the blocks after it up to `limit` as far as the same part of the map answers for them.
    ///
    /// `block` is less than `limit`, and `limit` at most the number of blocks.
    func piece(at block: UInt64, limit: UInt64) -> Piece {
        let (claimed, end) = claim(at: block, limit: limit)
        if let claimed { return claimed }
        return Piece(
            end: allocation.endOfRun(from: block, limit: end),
            blockClass: allocation.isAllocated(block) ? .data : .free)
    }

    /// What claims `block`; where nothing does, up to where nothing does, at most `limit`.
    @inline(__always)
    func claim(at block: UInt64, limit: UInt64) -> (piece: Piece?, end: UInt64) {
        var limit = limit
        let index = fixed.partitioningIndex { $0.end > block }
        if index < fixed.count {
            let run = fixed[index]
            if run.block <= block {
                return (Piece(end: min(limit, run.end), blockClass: run.blockClass, isFixed: true), limit)
            }
            limit = min(limit, run.block)
        }
        var next = dynamic.firstPosition
        if let position = dynamic.lastPosition(notAfter: block) {
            let run = dynamic[position]
            if run.end > block {
                let piece = Piece(
                    end: min(limit, run.end), blockClass: run.blockClass, owner: run.owner,
                    pointsAtMetadata: run.pointsAtMetadata)
                return (piece, limit)
            }
            next = dynamic.position(after: position)
        }
        if let next { limit = min(limit, dynamic[next].block) }
        if !pending.isEmpty, let run = pending.firstRun(endingAfter: block) {
            if run.block <= block {
                let blockClass: BlockClass = run.tag & PendingTag.tagged != 0 ? .metadata : .pending
                return (Piece(end: min(limit, run.end), blockClass: blockClass), limit)
            }
            limit = min(limit, run.block)
        }
        return (nil, limit)
    }

    /// Calls `body` with classes and the blocks that each has of `range` cut to the file system, after `limit` steps at
    /// most; returns where to go on. Blocks that nothing claims are counted together, however the bitmaps mix them.
    func forEachCount(in range: Range<UInt64>, limit: Int, _ body: (BlockClass, UInt64) -> Void) -> UInt64 {
        let end = min(range.upperBound, blockCount)
        var block = range.lowerBound
        for _ in 0..<limit where block < end {
            let (claimed, next) = claim(at: block, limit: min(end, block + Self.longestStep))
            if let claimed {
                body(claimed.blockClass, claimed.end - block)
                block = claimed.end
            } else {
                let allocated = allocation.allocatedCount(in: block..<next)
                body(.data, allocated)
                body(.free, next - block - allocated)
                block = next
            }
        }
        return block < end ? block : range.upperBound
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
    struct FixedRun: Equatable, Sendable {
        var block: UInt64
        var count: UInt32
        var blockClass: BlockClass

        var end: UInt64 { block + UInt64(count) }
    }

    /// A run of metadata that an inode owns, in 16 bytes.
    struct DynamicRun: Keyed {
        /// The block number in the upper 48 bits, then the class in 8, whether the contents decide the class of
        /// other blocks in one, whether inodes may share the block in one, and the level.
        private var packed: UInt64
        var count: UInt32
        /// The owner; of a block that may be shared, one that claimed it.
        var owner: UInt32

        private static let pointsAtMetadataBit: UInt64 = 0x80
        private static let isSharedBit: UInt64 = 0x40

        init(block: UInt64, count: UInt32, like run: MetadataRun) {
            packed = block << 16 | UInt64(run.blockClass.rawValue) << 8 | UInt64(run.level & 0x3f)
            if run.pointsAtMetadata { packed |= Self.pointsAtMetadataBit }
            self.count = count
            owner = run.owner
        }

        /// A block of extended attributes; a write to it is digested, since it may be something else by then.
        init(attributeBlock block: UInt64, owner: UInt32) {
            packed = block << 16 | UInt64(BlockClass.extendedAttribute.rawValue) << 8
            packed |= Self.isSharedBit | Self.pointsAtMetadataBit
            count = 1
            self.owner = owner
        }

        var key: UInt64 { block }
        var block: UInt64 { packed >> 16 }
        var end: UInt64 { block + UInt64(count) }
        var blockClass: BlockClass { BlockClass(rawValue: UInt8(truncatingIfNeeded: packed >> 8)) ?? .unknown }
        var pointsAtMetadata: Bool { packed & Self.pointsAtMetadataBit != 0 }
        var isShared: Bool { packed & Self.isSharedBit != 0 }
        var metadataRun: MetadataRun {
            MetadataRun(
                block: block, count: count, blockClass: blockClass, level: UInt8(packed & 0x3f), owner: owner,
                pointsAtMetadata: pointsAtMetadata, isShared: isShared)
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

    /// Blocks that two inodes claimed.
    struct Conflict: BitwiseCopyable, Hashable, Sendable {
        /// The inode that has them now.
        var winner: UInt32
        /// The inode that had them before.
        var loser: UInt32
        var count: UInt32
        var block: UInt64
        /// Whether they were extended attributes before, which other inodes than the loser may share.
        var wereAttributes: Bool
    }
}
