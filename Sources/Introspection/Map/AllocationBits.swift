/// One bit a block of a file system, or a cluster of them: set when the file system's block bitmaps call it allocated.
///
/// The bits are in chunks, and a chunk whose blocks are all free or all allocated takes 8 bytes: an empty file system of
/// many TiB costs next to nothing. There is a limit to the other ones, whatever a hostile guest's bitmaps say: a chunk
/// for which there is no room counts as allocated.
struct AllocationBits: Hashable, Sendable {
    /// Bits in a chunk, which takes 4 KiB.
    static let bitsPerChunk: UInt64 = 1 << 15
    static let wordsPerChunk = Int(bitsPerChunk / 64)
    /// The most memory for chunks that are neither free nor allocated as a whole: bits of 2^33 blocks.
    static let defaultMemoryLimit = 1 << 30

    private static let free: [UInt64] = [0]
    private static let allocated: [UInt64] = [~0]

    /// The number of blocks.
    let blockCount: UInt64
    /// The logarithm of the number of blocks that a bit stands for.
    private let shift: UInt64
    /// The bits of each chunk, those of the lowest block in the lowest bit of the first word; a single word where all
    /// words are like it, which are 0 or all ones then and nowhere else.
    private(set) var chunks: [[UInt64]]
    /// Chunks that take more than a word.
    private(set) var mixedCount = 0
    private let mixedLimit: Int

    /// All blocks free. `blockCount` has been checked against the size of the volume; `blocksPerBit` is a power of two.
    init(blockCount: UInt64, blocksPerBit: Int = 1, memoryLimit: Int = defaultMemoryLimit) {
        self.blockCount = blockCount
        shift = UInt64(blocksPerBit.trailingZeroBitCount)
        mixedLimit = memoryLimit / (Self.wordsPerChunk * 8)
        chunks = Array(repeating: Self.free, count: Self.chunkCount(blockCount, blocksPerBit: blocksPerBit))
    }

    /// The state of `blockCount` blocks as ``chunks`` had it; nil when `chunks` cannot be that.
    init?(blockCount: UInt64, blocksPerBit: Int = 1, chunks: [[UInt64]]) {
        let isSound = chunks.allSatisfy {
            $0.count == Self.wordsPerChunk || $0 == Self.free || $0 == Self.allocated
        }
        guard chunks.count == Self.chunkCount(blockCount, blocksPerBit: blocksPerBit), isSound else { return nil }
        self.blockCount = blockCount
        shift = UInt64(blocksPerBit.trailingZeroBitCount)
        self.chunks = chunks
        mixedLimit = Self.defaultMemoryLimit / (Self.wordsPerChunk * 8)
        mixedCount = chunks.count { $0.count > 1 }
        for index in chunks.indices { joinIfUniform(index) }
        guard mixedCount <= mixedLimit else { return nil }
    }

    /// Chunks that hold `blockCount` blocks, `blocksPerBit` in a bit.
    static func chunkCount(_ blockCount: UInt64, blocksPerBit: Int = 1) -> Int {
        let blocksPerChunk = bitsPerChunk << UInt64(blocksPerBit.trailingZeroBitCount)
        return Int(blockCount / blocksPerChunk) + (blockCount % blocksPerChunk == 0 ? 0 : 1)
    }

    /// The number of blocks that a bit stands for.
    var blocksPerBit: Int { 1 << Int(shift) }

    /// The same with a bit for as many blocks as `blocksPerBit` says: allocated when any of them is.
    func regrouped(blocksPerBit: Int) -> Self {
        var bits = Self(blockCount: blockCount, blocksPerBit: blocksPerBit)
        forEachAllocatedRun(in: 0..<blockCount) { bits.set($0, allocated: true) }
        return bits
    }

    /// Bytes allocated.
    var memoryBytes: Int {
        let header = 32
        return chunks.capacity * MemoryLayout<[UInt64]>.stride + mixedCount * (Self.wordsPerChunk * 8 + header)
    }

    /// Whether there is no room for more bits, so that more blocks may count as allocated than are.
    var isFull: Bool { mixedCount >= mixedLimit }

    /// Whether `block`, which is in the file system, is allocated.
    func isAllocated(_ block: UInt64) -> Bool {
        let bit = block >> shift
        return (word(Int(bit / 64)) >> (bit % 64)) & 1 == 1
    }

    /// The first block after `block` and at most `limit` whose state differs from that of `block`.
    func endOfRun(from block: UInt64, limit: UInt64) -> UInt64 {
        let bit = block >> shift
        let flip: UInt64 = isAllocated(block) ? ~0 : 0
        var index = Int(bit / 64)
        var changes = (word(index) ^ flip) & (UInt64.max << (bit % 64))
        while changes == 0 {
            let chunk = index / Self.wordsPerChunk
            index = chunks[chunk].count == 1 ? (chunk + 1) * Self.wordsPerChunk : index + 1
            guard UInt64(index) * 64 << shift < limit else { return limit }
            changes = word(index) ^ flip
        }
        return min(limit, (UInt64(index) * 64 + UInt64(changes.trailingZeroBitCount)) << shift)
    }

    /// How many blocks of `range`, which is in the file system, are allocated.
    func allocatedCount(in range: Range<UInt64>) -> UInt64 {
        guard !range.isEmpty else { return 0 }
        let (first, last) = (range.lowerBound >> shift, (range.upperBound - 1) >> shift)
        var count: UInt64 = 0
        for index in Int(first / 64)...Int(last / 64) {
            var bits = word(index)
            if index == Int(first / 64) { bits &= .max << (first % 64) }
            if index == Int(last / 64) { bits &= .max >> (63 - last % 64) }
            count += UInt64(bits.nonzeroBitCount)
        }
        count <<= shift
        // The first bit and the last may stand for blocks outside of the range.
        if isAllocated(range.lowerBound) { count -= range.lowerBound - first << shift }
        if isAllocated(range.upperBound - 1) { count -= (last + 1) << shift - range.upperBound }
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
    /// calls `changed` with a superset of the runs of blocks whose state changed. `first` is the first block of a bit.
    ///
    /// - Parameter bitmap: Little-endian bits, for as many blocks each as here, as in an ext block bitmap; what it is too
    ///   short for stays as it is.
    /// - Returns: Whether any state changed.
    @discardableResult
    mutating func set(
        first: UInt64, count: UInt64, bitmap: UnsafeRawBufferPointer, changed: (Range<UInt64>) -> Void = { _ in }
    ) -> Bool {
        guard first < blockCount else { return false }
        let (start, end) = (first >> shift, Self.bitEnd(first + min(count, blockCount - first), shift))
        return set(start..<min(end, start + UInt64(bitmap.count) * 8), changed: changed) { bit, length in
            Self.bits(of: bitmap, at: bit - start, count: length)
        }
    }

    /// Sets the state of every block of `range`, which must be in the file system, and of those that share a bit with them.
    mutating func set(_ range: Range<UInt64>, allocated: Bool) {
        guard !range.isEmpty else { return }
        set(range.lowerBound >> shift..<Self.bitEnd(range.upperBound, shift)) { _, _ in allocated ? ~0 : 0 }
    }

    /// The first bit that stands for no block before `end`.
    private static func bitEnd(_ end: UInt64, _ shift: UInt64) -> UInt64 {
        (end + (1 << shift) - 1) >> shift
    }

    /// Gives each bit of `range` the state that `bits` tells of: called with the first of up to 64 bits of one word,
    /// and how many they are. Returns whether any state changed.
    @discardableResult
    private mutating func set(
        _ range: Range<UInt64>, changed: (Range<UInt64>) -> Void = { _ in }, _ bits: (UInt64, UInt64) -> UInt64
    ) -> Bool {
        var anyChange = false
        var bit = range.lowerBound
        while bit < range.upperBound {
            let chunk = Int(bit / Self.bitsPerChunk)
            let end = min(range.upperBound, UInt64(chunk + 1) * Self.bitsPerChunk)
            var hasChanged = false
            while bit < end {
                let length = min(64 - bit % 64, end - bit)
                if let range = put(bits(bit, length), at: bit, count: length) {
                    hasChanged = true
                    changed(blocks(range))
                }
                bit += length
            }
            if hasChanged { joinIfUniform(chunk) }
            anyChange = anyChange || hasChanged
        }
        return anyChange
    }

    /// Takes the chunks that `other` has too from there: they take memory once until either changes them.
    mutating func share(with other: Self) {
        guard blockCount == other.blockCount, shift == other.shift else { return }
        for index in chunks.indices where chunks[index].count > 1 && chunks[index] == other.chunks[index] {
            chunks[index] = other.chunks[index]
        }
    }

    private func word(_ index: Int) -> UInt64 {
        let chunk = index / Self.wordsPerChunk
        return chunks[chunk].count == 1 ? chunks[chunk][0] : chunks[chunk][index % Self.wordsPerChunk]
    }

    /// The blocks that a range of bits stands for.
    private func blocks(_ bits: Range<UInt64>) -> Range<UInt64> {
        bits.lowerBound << shift..<min(bits.upperBound << shift, blockCount)
    }

    /// Puts the lowest `count` of `bits` at `bit`; all of them fall in one word. Returns the range from the first
    /// to the last bit that changed.
    private mutating func put(_ bits: UInt64, at bit: UInt64, count: UInt64) -> Range<UInt64>? {
        let ones: UInt64 = count == 64 ? ~0 : (1 << count) - 1
        let mask = ones << (bit % 64)
        let index = Int(bit / 64)
        let chunk = index / Self.wordsPerChunk
        let old = word(index)
        let new = old & ~mask | (bits << (bit % 64)) & mask
        guard new != old else { return nil }
        if chunks[chunk].count == 1 {
            guard mixedCount < mixedLimit else { return takeForAllocated(chunk) }
            chunks[chunk] = Array(repeating: old, count: Self.wordsPerChunk)
            mixedCount += 1
        }
        chunks[chunk][index % Self.wordsPerChunk] = new
        let changes = old ^ new
        let base = UInt64(index) * 64
        return base + UInt64(changes.trailingZeroBitCount)..<base + 64 - UInt64(changes.leadingZeroBitCount)
    }

    /// Calls all of a uniform chunk allocated. Returns the bits that this changes.
    private mutating func takeForAllocated(_ chunk: Int) -> Range<UInt64>? {
        guard chunks[chunk] != Self.allocated else { return nil }
        chunks[chunk] = Self.allocated
        let start = UInt64(chunk) * Self.bitsPerChunk
        return start..<min(start + Self.bitsPerChunk, Self.bitEnd(blockCount, shift))
    }

    /// Gives the memory of a chunk back whose words have become alike.
    private mutating func joinIfUniform(_ chunk: Int) {
        guard chunks[chunk].count > 1, let first = chunks[chunk].first, first == 0 || first == ~0,
            chunks[chunk].allSatisfy({ $0 == first })
        else { return }
        chunks[chunk] = first == 0 ? Self.free : Self.allocated
        mixedCount -= 1
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
