/// One bit a block of a file system: set when the file system's block bitmaps call the block allocated.
struct AllocationBits: Hashable, Sendable {
    /// The number of blocks.
    let blockCount: UInt64
    /// The lowest bit of the first word stands for block 0.
    private(set) var words: [UInt64]

    /// All blocks free. `blockCount` has been checked against the size of the volume.
    init(blockCount: UInt64) {
        self.blockCount = blockCount
        words = [UInt64](repeating: 0, count: Int((blockCount + 63) / 64))
    }

    /// The state of `blockCount` blocks, in as many words as that takes.
    init(blockCount: UInt64, words: [UInt64]) {
        precondition(UInt64(words.count) == blockCount / 64 + (blockCount % 64 == 0 ? 0 : 1))
        self.blockCount = blockCount
        self.words = words
    }

    var memoryBytes: Int { words.capacity * MemoryLayout<UInt64>.stride }

    /// Whether `block`, which is in the file system, is allocated.
    func isAllocated(_ block: UInt64) -> Bool {
        (words[Int(block / 64)] >> (block % 64)) & 1 == 1
    }

    /// The first block after `block` and at most `limit` whose state differs from that of `block`.
    func endOfRun(from block: UInt64, limit: UInt64) -> UInt64 {
        let flip: UInt64 = isAllocated(block) ? ~0 : 0
        var index = Int(block / 64)
        var changes = (words[index] ^ flip) & (UInt64.max << (block % 64))
        while changes == 0 {
            index += 1
            guard UInt64(index) * 64 < limit else { return limit }
            changes = words[index] ^ flip
        }
        return min(limit, UInt64(index) * 64 + UInt64(changes.trailingZeroBitCount))
    }

    /// Allocated blocks in `range`.
    func allocatedCount(in range: Range<UInt64>) -> UInt64 {
        var count: UInt64 = 0
        var block = range.lowerBound
        while block < range.upperBound {
            let length = min(64 - block % 64, range.upperBound - block)
            let bits = words[Int(block / 64)] >> (block % 64)
            count += UInt64((length == 64 ? bits : bits & ((1 << length) - 1)).nonzeroBitCount)
            block += length
        }
        return count
    }

    /// Calls `body` with the runs of allocated blocks in `range`, in order.
    func forEachAllocatedRun(in range: Range<UInt64>, _ body: (Range<UInt64>) -> Void) {
        var block = range.lowerBound
        while block < range.upperBound {
            let end = endOfRun(from: block, limit: range.upperBound)
            if isAllocated(block) { body(block..<end) }
            block = end
        }
    }

    /// Takes the state of `count` blocks from `first` over from `bitmap`, whose lowest bit stands for `first`, and
    /// calls `changed` with a superset of the runs of blocks whose state changed.
    ///
    /// - Parameter bitmap: Little-endian bits, as in an ext block bitmap; what it is too short for stays as it is.
    /// - Returns: Whether any state changed.
    @discardableResult
    mutating func set(
        first: UInt64, count: UInt64, bitmap: UnsafeRawBufferPointer, changed: (Range<UInt64>) -> Void = { _ in }
    ) -> Bool {
        guard first < blockCount else { return false }
        let count = min(count, blockCount - first, UInt64(bitmap.count) * 8)
        var anyChange = false
        var done: UInt64 = 0
        while done < count {
            let length = min(64 - (first + done) % 64, count - done)
            let bits = Self.bits(of: bitmap, at: done, count: length)
            if let range = put(bits, at: first + done, count: length) {
                anyChange = true
                changed(range)
            }
            done += length
        }
        return anyChange
    }

    /// Sets the state of every block of `range`, which must be in the file system.
    mutating func set(_ range: Range<UInt64>, allocated: Bool) {
        var block = range.lowerBound
        while block < range.upperBound {
            let length = min(64 - block % 64, range.upperBound - block)
            _ = put(allocated ? ~0 : 0, at: block, count: length)
            block += length
        }
    }

    /// Puts the lowest `count` of `bits` at `block`; all of them fall in one word. Returns the range from the first
    /// to the last block that changed.
    private mutating func put(_ bits: UInt64, at block: UInt64, count: UInt64) -> Range<UInt64>? {
        let ones: UInt64 = count == 64 ? ~0 : (1 << count) - 1
        let mask = ones << (block % 64)
        let index = Int(block / 64)
        let old = words[index]
        let new = old & ~mask | (bits << (block % 64)) & mask
        guard new != old else { return nil }
        words[index] = new
        let changes = old ^ new
        let base = UInt64(index) * 64
        return base + UInt64(changes.trailingZeroBitCount)..<base + 64 - UInt64(changes.leadingZeroBitCount)
    }

    /// `count` bits, 64 at most, of `bitmap` from bit `start`; all of them are there.
    private static func bits(of bitmap: UnsafeRawBufferPointer, at start: UInt64, count: UInt64) -> UInt64 {
        let firstByte = Int(start / 8)
        let shift = start % 8
        var bits: UInt64 = 0
        for byte in firstByte..<min(firstByte + 9, bitmap.count) {
            let position = Int64(byte - firstByte) * 8 - Int64(shift)
            bits |= position >= 0 ? UInt64(bitmap[byte]) << position : UInt64(bitmap[byte]) >> -position
        }
        return count == 64 ? bits : bits & ((1 << count) - 1)
    }
}
