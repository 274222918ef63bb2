/// Tells that a block was surely not written since the filter was cleared, in a fixed amount of memory.
///
/// A bit stands for every 65,536th block, so that consecutive blocks have consecutive bits.
struct WriteFilter: Sendable {
    private static let wordCount: UInt64 = 1024
    private static let bitCount = wordCount * 64

    private var words = [UInt64](repeating: 0, count: Int(wordCount))

    var memoryBytes: Int { words.capacity * MemoryLayout<UInt64>.stride }

    /// Forgets all blocks.
    mutating func clear() {
        for index in words.indices { words[index] = 0 }
    }

    /// Notes that the blocks of `range` were written.
    mutating func insert(_ range: Range<UInt64>) {
        var block = range.lowerBound
        let end = min(range.upperBound, block + Self.bitCount)
        while block < end {
            let length = min(64 - block % 64, end - block)
            let ones: UInt64 = length == 64 ? ~0 : (1 << length) - 1
            words[Int(block / 64 % Self.wordCount)] |= ones << (block % 64)
            block += length
        }
    }

    /// Whether a block of `range` may have been written.
    func mayContain(_ range: Range<UInt64>) -> Bool {
        var block = range.lowerBound
        let end = min(range.upperBound, block + Self.bitCount)
        while block < end {
            let length = min(64 - block % 64, end - block)
            let ones: UInt64 = length == 64 ? ~0 : (1 << length) - 1
            if words[Int(block / 64 % Self.wordCount)] & ones << (block % 64) != 0 { return true }
            block += length
        }
        return range.count >= Self.bitCount
    }
}
