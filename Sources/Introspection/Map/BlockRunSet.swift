/// A bounded set of blocks, kept as sorted runs that never touch or overlap unless their tags differ.
struct BlockRunSet: Sendable {
    /// Consecutive blocks with one tag.
    struct Run: Keyed {
        var block: UInt64
        var count: UInt32
        var tag: UInt32

        var key: UInt64 { block }
        var end: UInt64 { block + UInt64(count) }
    }

    /// A run ends here at the latest, so that its count fits.
    static let longestRun: UInt64 = 1 << 31

    private var runs = SortedChunks<Run>()
    /// How many blocks are in the set.
    private(set) var blockCount: UInt64 = 0

    var isEmpty: Bool { runs.isEmpty }
    /// How many runs the set takes.
    var runCount: Int { runs.count }
    var memoryBytes: Int { runs.memoryBytes }

    /// The first run that ends after `block`.
    func firstRun(endingAfter block: UInt64) -> Run? {
        if let position = runs.lastPosition(notAfter: block) {
            let run = runs[position]
            if run.end > block { return run }
        }
        return runs.firstPosition(after: block).map { runs[$0] }
    }

    func contains(_ block: UInt64) -> Bool {
        guard let run = firstRun(endingAfter: block) else { return false }
        return run.block <= block
    }

    /// Adds `range`; blocks that were there get the new tag.
    mutating func insert(_ range: Range<UInt64>, tag: UInt32 = 0) {
        if let run = firstRun(endingAfter: range.lowerBound), run.tag == tag, run.block <= range.lowerBound,
            run.end >= range.upperBound
        {
            return
        }
        remove(range)
        var start = range.lowerBound
        while start < range.upperBound {
            let end = min(range.upperBound, start + Self.longestRun)
            insertPiece(start..<end, tag: tag)
            start = end
        }
    }

    /// Takes `range` out of the set.
    mutating func remove(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        while let run = firstRun(endingAfter: range.lowerBound), run.block < range.upperBound {
            runs.remove(run.block)
            blockCount -= UInt64(run.count)
            if run.block < range.lowerBound {
                put(run.block..<range.lowerBound, tag: run.tag)
            }
            if run.end > range.upperBound {
                put(range.upperBound..<run.end, tag: run.tag)
            }
        }
    }

    /// Calls `body` with the parts of the runs that lie in `range`, in order.
    func forEach(in range: Range<UInt64>, _ body: (Range<UInt64>, _ tag: UInt32) -> Void) {
        var next = range.lowerBound
        while next < range.upperBound, let run = firstRun(endingAfter: next), run.block < range.upperBound {
            body(max(run.block, next)..<min(run.end, range.upperBound), run.tag)
            next = run.end
        }
    }

    /// Calls `body` with every run, in order.
    func forEach(_ body: (Run) -> Void) {
        runs.forEach(body)
    }

    /// Drops some 256 neighbouring runs, other ones with each value of `hand`; returns how many blocks they held.
    mutating func dropSome(hand: Int) -> UInt64 {
        let dropped = runs.removeChunk(hand: hand).reduce(0) { $0 + UInt64($1.count) }
        blockCount -= dropped
        return dropped
    }

    private mutating func insertPiece(_ range: Range<UInt64>, tag: UInt32) {
        var merged = range
        if range.lowerBound > 0, let before = firstRun(endingAfter: range.lowerBound - 1),
            before.end == range.lowerBound, before.tag == tag, UInt64(before.count) < Self.longestRun / 2
        {
            runs.remove(before.block)
            blockCount -= UInt64(before.count)
            merged = before.block..<merged.upperBound
        }
        if let after = firstRun(endingAfter: range.upperBound), after.block == range.upperBound, after.tag == tag,
            UInt64(merged.count) + UInt64(after.count) <= Self.longestRun
        {
            runs.remove(after.block)
            blockCount -= UInt64(after.count)
            merged = merged.lowerBound..<after.end
        }
        put(merged, tag: tag)
    }

    private mutating func put(_ range: Range<UInt64>, tag: UInt32) {
        runs.insert(Run(block: range.lowerBound, count: UInt32(range.count), tag: tag))
        blockCount += UInt64(range.count)
    }
}
