/// How the log's device is divided: two superblocks, then the ring of segments.
struct LogGeometry: Hashable, Sendable {
    static let defaultBlockSize = 4096
    static let segmentCount = 64
    private static let largestBatch = 4 << 20
    private static let bytesPerExtent = 2048
    private static let largestPosition: UInt64 = 1 << 60

    /// Commits start and end on a multiple of this, in bytes: what the device writes without reading first.
    let blockSize: Int
    /// The unit of reuse, in bytes: a whole number of blocks.
    let segmentSize: Int

    /// The geometry of a device of `deviceSize` bytes, or nil when it is too small for a log.
    init?(deviceSize: Int, blockSize: Int) {
        guard blockSize >= 512, blockSize & (blockSize - 1) == 0 else { return nil }
        self.blockSize = blockSize
        segmentSize = (deviceSize - 2 * blockSize) / Self.segmentCount / blockSize * blockSize
        guard segmentSize >= 4 * blockSize else { return nil }
    }

    /// The geometry that a superblock tells, or nil when a device of `deviceSize` bytes cannot have it.
    init?(blockSize: Int, segmentSize: Int, deviceSize: Int) {
        guard let largest = LogGeometry(deviceSize: deviceSize, blockSize: blockSize),
            (4 * blockSize...largest.segmentSize).contains(segmentSize), segmentSize % blockSize == 0
        else { return nil }
        self.blockSize = blockSize
        self.segmentSize = segmentSize
    }

    var ringStart: Int { 2 * blockSize }
    var ringSize: Int { Self.segmentCount * segmentSize }
    /// The most bytes of one group commit.
    var batchSize: Int { min(Self.largestBatch, ringSize / 16 / blockSize * blockSize) }
    /// The most bytes that one record carries.
    var largestPayload: Int { batchSize - blockSize }
    /// The most bytes that any record carries: those of checkpoints are not bounded by a commit's size.
    var longestRecord: Int { min(Self.largestBatch, ringSize) }
    /// The most extents that the index holds; with more the log counts as full.
    var maximumExtents: Int { ringSize / Self.bytesPerExtent }

    /// The position that a device says, or nil when no log ever gets so far.
    static func position(_ number: UInt64) -> Int? {
        number <= largestPosition ? Int(number) : nil
    }

    func roundedUp(_ count: Int) -> Int { (count + blockSize - 1) & ~(blockSize - 1) }
}
