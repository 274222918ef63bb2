import BlockStorage

/// Where a disk was written while a scan read it: a bit a granule, in at most 128 KiB however much is written.
struct WriteGranules: Sendable {
    private static let bitLimit = 1 << 20

    private let granule: Int
    private let diskSize: Int
    private var words: [UInt64]

    /// Nothing of a disk of `diskSize` bytes is written yet. Granules are of 4 KiB, or more on disks above 4 GiB.
    init(diskSize: Int) {
        var granule = 4096
        while diskSize / granule >= Self.bitLimit { granule *= 2 }
        self.granule = granule
        self.diskSize = diskSize
        words = [UInt64](repeating: 0, count: diskSize / granule / 64 + 1)
    }

    /// Notes that `range`, which is on the disk, was written.
    mutating func insert(_ range: ByteRange) {
        guard !range.isEmpty else { return }
        for bit in range.offset / granule...(range.end - 1) / granule {
            words[bit / 64] |= 1 << UInt64(bit % 64)
        }
    }

    /// Calls `body` with ranges that hold everything that was written, in order.
    func forEachRange<Failure: Error>(_ body: (ByteRange) throws(Failure) -> Void) throws(Failure) {
        let bitCount = words.count * 64
        var bit = 0
        while bit < bitCount {
            if words[bit / 64] >> UInt64(bit % 64) == 0 {
                bit = (bit / 64 + 1) * 64
                continue
            }
            let start = bit + (words[bit / 64] >> UInt64(bit % 64)).trailingZeroBitCount
            var end = start
            while end < bitCount, (words[end / 64] >> UInt64(end % 64)) & 1 == 1 { end += 1 }
            let last = end > diskSize / granule ? diskSize : end * granule
            if start * granule < last { try body(ByteRange(offset: start * granule, length: last - start * granule)) }
            bit = end
        }
    }
}
