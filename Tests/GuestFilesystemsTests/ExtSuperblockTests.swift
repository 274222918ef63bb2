import TestTools
import Testing

@testable import GuestFilesystems

/// The bytes of a valid superblock: 4 groups of 8,192 blocks of 1 KiB, revision 1, no features.
func smallSuperblockBytes(_ change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 1024)
    bytes.store(UInt32(4 * 2048), at: 0)
    bytes.store(UInt32(4 * 8192 - 7), at: 4)
    bytes.store(UInt32(1), at: 20)
    bytes.store(UInt32(8192), at: 32)
    bytes.store(UInt32(2048), at: 40)
    bytes.store(ExtSuperblock.magic, at: 56)
    bytes.store(UInt16(1), at: 58)
    bytes.store(UInt32(1), at: 76)
    bytes.store(UInt32(11), at: 84)
    bytes.store(UInt16(128), at: 88)
    change(&bytes)
    return bytes
}

func smallSuperblock(_ change: (inout [UInt8]) -> Void = { _ in }) throws -> ExtSuperblock {
    try ExtSuperblock(parsing: smallSuperblockBytes(change).span.bytes)
}

@Suite struct ExtSuperblockTests {
    @Test func aSmallOne() throws {
        let superblock = try smallSuperblock()
        #expect(superblock.groupCount == 4)
        #expect(superblock.kind == .ext2)
        #expect(superblock.blockSize == 1024)
        #expect(throws: ExtFormatError.self) { try superblock.check(deviceSize: (4 * 8192 - 8) * 1024) }
        try superblock.check(deviceSize: (4 * 8192 - 7) * 1024)
    }

    @Test func featuresThatNobodyKnowsAreNamed() throws {
        let superblock = try smallSuperblock { $0.store(UInt32(0x8000_0002), at: 96) }
        #expect(superblock.unsupportedFeatures == ["FEATURE_I31"])
        #expect(superblock.featureNames == ["filetype", "FEATURE_I31"])
    }

    @Test(arguments: [
        ("s_log_block_size", 24, UInt32(7)), ("s_log_block_size", 24, 0xFFFF_FFFF), ("s_blocks_per_group", 32, 0),
        ("s_blocks_per_group", 32, 8200), ("s_blocks_per_group", 32, 8191), ("s_inodes_per_group", 40, 0),
        ("s_inodes_per_group", 40, 8193), ("s_inodes_count", 0, 1), ("s_blocks_count", 4, 0),
        ("s_blocks_count", 4, 1), ("s_first_data_block", 20, 0), ("s_first_data_block", 20, 2),
        ("s_inode_size", 88, 127), ("s_inode_size", 88, 2048), ("s_inode_size", 88, 192), ("s_first_ino", 84, 10),
        ("s_magic", 56, 0x1234),
    ])
    func valuesThatMakeNoSense(field: String, offset: Int, value: UInt32) throws {
        let bytes = smallSuperblockBytes { bytes in
            if field == "s_inode_size" || field == "s_magic" {
                bytes.store(UInt16(value), at: offset)
            } else {
                bytes.store(value, at: offset)
            }
        }
        let error = #expect(throws: ExtFormatError.self) { try ExtSuperblock(parsing: bytes.span.bytes) }
        #expect(error?.field == field)
        #expect(error.map { "\($0)".contains("expected") } == true)
    }

    @Test func randomNumbersNeverTrap() {
        var random = SplitMix64(seed: 1)
        var accepted = 0
        let offsets = [0, 4, 20, 24, 28, 32, 36, 40, 76, 84, 88, 92, 96, 100, 206, 254, 260, 336, 372, 588]
        for _ in 0..<20_000 {
            let bytes = smallSuperblockBytes { bytes in
                for _ in 0..<1 + Int(random.next() % 3) {
                    let offset = offsets.randomElement(using: &random) ?? 0
                    let value = UInt32(truncatingIfNeeded: random.next() >> (random.next() % 64))
                    bytes.store(value, at: offset)
                }
            }
            guard let superblock = try? ExtSuperblock(parsing: bytes.span.bytes) else { continue }
            accepted += 1
            let geometry = ExtGeometry(superblock)
            for group in [0, 1, geometry.groupCount / 2, geometry.groupCount - 1] where group < geometry.groupCount {
                let overhead = geometry.overhead(ofGroup: group)
                #expect(overhead.reservedDescriptors.upperBound <= geometry.blocks(ofGroup: group).upperBound)
                _ = geometry.blockBitmapBitCount(ofGroup: group)
            }
            _ = geometry.descriptorBlock(geometry.descriptorBlockCount - 1)
        }
        #expect(accepted > 1000)
    }
}
