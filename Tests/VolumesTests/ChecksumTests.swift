import Testing

@testable import Volumes

struct ChecksumTests {
    /// The check value of the catalogue of CRC algorithms, and zlib's own for longer input.
    @Test func knownVectors() {
        #expect(CRC32.checksum(Array("123456789".utf8)[...]) == 0xcbf4_3926)
        #expect(CRC32.checksum([]) == 0)
        #expect(CRC32.checksum([0, 0, 0, 0]) == 0x2144_df1c)
        #expect(CRC32.checksum([UInt8](0...255)[...]) == 0x2905_8c73)
    }

    @Test func piecesGiveTheChecksumOfTheWhole() {
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        let first = CRC32.update(.max, with: bytes[..<333])
        #expect(~CRC32.update(first, with: bytes[333...]) == CRC32.checksum(bytes[...]))
    }
}
