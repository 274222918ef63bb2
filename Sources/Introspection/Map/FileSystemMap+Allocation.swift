/// What the block bitmaps say.
extension FileSystemMap {
    /// How often a written bitmap must still call a written block free until the block counts as free again.
    ///
    /// Twice, since the bitmap on disk may be older than the block: a bitmap in place lags behind the journal.
    static let pendingPasses: UInt32 = 2
    /// The most runs of pending blocks that are kept: 128 KiB.
    static let pendingRunLimit = 8192

    /// Takes over the state of the blocks from `first` from a bitmap that was written.
    ///
    /// Pending blocks that it calls allocated are data from then on.
    ///
    /// - Parameters:
    ///   - count: How many blocks the bitmap is about.
    ///   - bitmap: A bit a block; lowest bit first.
    ///   - changed: Called with the ranges that may have changed their class.
    mutating func setAllocation(
        first: UInt64, count: UInt64, bitmap: UnsafeRawBufferPointer, changed: (Range<UInt64>) -> Void
    ) {
        var ranges: [Range<UInt64>] = []
        allocation.set(first: first, count: count, bitmap: bitmap) { range in
            if let last = ranges.last, last.upperBound == range.lowerBound {
                ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
            } else {
                ranges.append(range)
            }
        }
        for range in ranges { dropFreedAttributes(in: range) }
        for range in settlePending(in: first..<min(first + count, blockCount)) { changed(range) }
        for range in ranges { changed(range) }
    }

    /// Marks as pending the blocks of `range`, which are free or pending. Returns how many other blocks had to be
    /// forgotten for it.
    mutating func setPending(_ range: Range<UInt64>, hand: inout Int) -> UInt64 {
        pending.insert(range)
        guard pending.runCount > Self.pendingRunLimit else { return 0 }
        hand &+= 1
        return pending.dropSome(hand: hand & 0xffff)
    }

    /// Settles the pending blocks in `range`, whose bitmap was just taken over. Returns what is not pending any more.
    private mutating func settlePending(in range: Range<UInt64>) -> [Range<UInt64>] {
        guard !pending.isEmpty, !range.isEmpty else { return [] }
        var settled: [Range<UInt64>] = []
        var older: [(Range<UInt64>, UInt32)] = []
        pending.forEach(in: range) { run, passes in
            var block = run.lowerBound
            while block < run.upperBound {
                let end = allocation.endOfRun(from: block, limit: run.upperBound)
                if allocation.isAllocated(block) || passes + 1 >= Self.pendingPasses {
                    settled.append(block..<end)
                } else {
                    older.append((block..<end, passes + 1))
                }
                block = end
            }
        }
        for range in settled { pending.remove(range) }
        for (range, passes) in older { pending.insert(range, tag: passes) }
        return settled
    }
}
