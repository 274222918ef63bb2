import BlockStorage

/// Where the log begins: two copies, of which the valid one with the higher generation counts, each in a block of its
/// own, so that a write that is torn leaves the other. 72 bytes, little-endian:
///
///       0  magic "IRLOGSB1"               40  epoch of what is written from there on
///       8  CRC-32C of bytes 16 ..< 72     48  position where that epoch starts
///      12  zero                           56  position of the checkpoint, all ones for none
///      16  identity of the log            64  block size, 4 bytes; segment size in blocks, 4 bytes
///      32  generation
struct LogSuperblock {
    private static let magic: UInt64 = 0x3142_5347_4F4C_5249
    private static let size = 72
    private static let noCheckpoint = UInt64.max
    /// No log gets so far.
    static let largestGeneration: UInt64 = 1 << 63

    var identity: UInt128
    var generation: UInt64 = 1
    var epoch: UInt64 = 1
    var epochStart = 0
    var checkpoint: Int?
    var blockSize: Int
    var segmentSize: Int

    init(identity: UInt128, geometry: LogGeometry) {
        self.identity = identity
        blockSize = geometry.blockSize
        segmentSize = geometry.segmentSize
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.size, bytes.littleEndian(at: 0, as: UInt64.self) == Self.magic,
            bytes.littleEndian(at: 8, as: UInt32.self)
                == CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[16..<Self.size])),
            let epochStart = LogGeometry.position(bytes.littleEndian(at: 48, as: UInt64.self))
        else { return nil }
        identity = bytes.littleEndian(at: 16, as: UInt128.self)
        generation = bytes.littleEndian(at: 32, as: UInt64.self)
        epoch = bytes.littleEndian(at: 40, as: UInt64.self)
        // Each epoch is the generation of the superblock that began it.
        guard epoch <= generation, generation < Self.largestGeneration else { return nil }
        self.epochStart = epochStart
        let checkpoint = bytes.littleEndian(at: 56, as: UInt64.self)
        if checkpoint != Self.noCheckpoint {
            guard let position = LogGeometry.position(checkpoint) else { return nil }
            self.checkpoint = position
        }
        blockSize = Int(bytes.littleEndian(at: 64, as: UInt32.self))
        let (size, overflow) = blockSize.multipliedReportingOverflow(
            by: Int(bytes.littleEndian(at: 68, as: UInt32.self)))
        guard !overflow else { return nil }
        segmentSize = size
    }

    func write(to bytes: UnsafeMutableRawBufferPointer) {
        bytes.setLittleEndian(Self.magic, at: 0)
        bytes.setLittleEndian(identity, at: 16)
        bytes.setLittleEndian(generation, at: 32)
        bytes.setLittleEndian(epoch, at: 40)
        bytes.setLittleEndian(UInt64(epochStart), at: 48)
        bytes.setLittleEndian(checkpoint.map(UInt64.init) ?? Self.noCheckpoint, at: 56)
        bytes.setLittleEndian(UInt32(blockSize), at: 64)
        bytes.setLittleEndian(UInt32(segmentSize / blockSize), at: 68)
        let checked = UnsafeRawBufferPointer(rebasing: bytes[16..<Self.size])
        bytes.setLittleEndian(CRC32C.checksum(checked), at: 8)
    }
}
