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

    /// Marks as pending the blocks of `range`, with a ``PendingTag``. Returns how many other blocks had to be forgotten
    /// for it.
    mutating func setPending(_ range: Range<UInt64>, tag: UInt32 = 0, hand: inout Int) -> UInt64 {
        pending.insert(range, tag: tag)
        guard pending.runCount > Self.pendingRunLimit else { return 0 }
        hand &+= 1
        return pending.dropSome(hand: hand & 0xffff)
    }

    /// Takes the pending state off the blocks of `range`, which a structure claims.
    mutating func claimPending(_ range: Range<UInt64>) {
        let before = pending.blockCount
        pending.remove(range)
        deferred.claimed += before - pending.blockCount
    }

    /// Decides on the tagged blocks in `range`, of a transaction that has been taken over as a whole: nothing claims
    /// them, so that the bitmap alone tells what they are. Returns them, and how many are data that were free before.
    mutating func settleTagged(in range: Range<UInt64>) -> (settled: [Range<UInt64>], newData: Int) {
        var data: [Range<UInt64>] = []
        var free: [Range<UInt64>] = []
        var newData = 0
        pending.forEach(in: range) { run, tag in
            guard tag & PendingTag.tagged != 0 else { return }
            var block = run.lowerBound
            while block < run.upperBound {
                let end = allocation.endOfRun(from: block, limit: run.upperBound)
                if allocation.isAllocated(block) {
                    data.append(block..<end)
                    newData += tag & PendingTag.wasData == 0 ? Int(end - block) : 0
                } else {
                    free.append(block..<end)
                }
                block = end
            }
        }
        for range in data + free { pending.remove(range) }
        deferred.data += data.reduce(0) { $0 + UInt64($1.count) }
        deferred.aged += free.reduce(0) { $0 + UInt64($1.count) }
        return (data + free, newData)
    }

    /// Makes the tagged blocks of `range` ones that were merely written: what named them does not count any more.
    mutating func untag(in range: Range<UInt64>) {
        var tagged: [Range<UInt64>] = []
        pending.forEach(in: range) { if $1 & PendingTag.tagged != 0 { tagged.append($0) } }
        untag(tagged)
    }

    /// Takes tags off blocks from `start` on, some `blocks` of them, and returns where to go on.
    mutating func untag(from start: UInt64, blocks: Int) -> UInt64 {
        var (next, room) = (start, UInt64(blocks))
        var tagged: [Range<UInt64>] = []
        for _ in 0..<blocks {
            guard room > 0, let run = pending.firstRun(endingAfter: next) else { break }
            let range = max(next, run.block)..<run.end
            if run.tag & PendingTag.tagged != 0 {
                let part = range.lowerBound..<min(range.upperBound, range.lowerBound + room)
                tagged.append(part)
                room -= UInt64(part.count)
                next = part.upperBound
            } else {
                next = range.upperBound
            }
        }
        untag(tagged)
        return pending.firstRun(endingAfter: next) == nil ? blockCount : next
    }

    private mutating func untag(_ tagged: [Range<UInt64>]) {
        for range in tagged {
            pending.remove(range)
            var free = range.lowerBound
            allocation.forEachAllocatedRun(in: range) {
                if free < $0.lowerBound { pending.insert(free..<$0.lowerBound) }
                free = $0.upperBound
            }
            if free < range.upperBound { pending.insert(free..<range.upperBound) }
        }
    }

    /// Settles the pending blocks in `range`, whose bitmap was just taken over. Returns what is not pending any more.
    private mutating func settlePending(in range: Range<UInt64>) -> [Range<UInt64>] {
        guard !pending.isEmpty, !range.isEmpty else { return [] }
        var settled: [Range<UInt64>] = []
        var older: [(Range<UInt64>, UInt32)] = []
        pending.forEach(in: range) { run, tag in
            var block = run.lowerBound
            while block < run.upperBound {
                let end = allocation.endOfRun(from: block, limit: run.upperBound)
                // What is tagged is allocated as metadata: the inode that claims it comes in the same transaction.
                let isData = allocation.isAllocated(block) && tag & PendingTag.tagged == 0
                if isData || tag & PendingTag.passes + 1 >= Self.pendingPasses {
                    settled.append(block..<end)
                } else {
                    older.append((block..<end, tag + 1))
                }
                block = end
            }
        }
        for range in settled {
            pending.remove(range)
            if allocation.isAllocated(range.lowerBound) {
                deferred.data += UInt64(range.count)
            } else {
                deferred.aged += UInt64(range.count)
            }
        }
        for (range, tag) in older { pending.insert(range, tag: tag) }
        // A bitmap may cut a run into as many as it has blocks.
        var hand = 0
        while pending.runCount > Self.pendingRunLimit {
            deferred.forgotten += pending.dropSome(hand: hand)
            hand += 1
        }
        return settled
    }
}
