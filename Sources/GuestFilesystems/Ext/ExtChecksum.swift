import BlockStorage

/// The checksums of ext4: CRC-32C (Castagnoli) for `metadata_csum`, CRC-16 for `uninit_bg`.
///
/// Neither inverts its result: the seed is given and the remainder returned, as Linux's `crc32c` and `crc16` do.
public enum ExtChecksum {
    /// The CRC-32C of `bytes` that continues `seed`.
    public static func crc32c(_ bytes: RawSpan, seed: UInt32) -> UInt32 {
        bytes.withUnsafeBytes { CRC32C.update(seed, with: $0) }
    }

    /// The CRC-32C of `value`'s four little-endian bytes that continues `seed`.
    public static func crc32c(_ value: UInt32, seed: UInt32) -> UInt32 {
        withUnsafeBytes(of: value.littleEndian) { CRC32C.update(seed, with: $0) }
    }

    /// The CRC-16 (polynomial 0x8005, reflected) of `bytes` that continues `seed`.
    public static func crc16(_ bytes: RawSpan, seed: UInt16) -> UInt16 {
        var crc = seed
        for offset in 0..<bytes.byteCount {
            crc = crc >> 8 ^ ibm[Int((crc ^ UInt16(bytes.uint8(at: offset))) & 0xFF)]
        }
        return crc
    }

    /// The CRC-16 of `value`'s four little-endian bytes that continues `seed`.
    public static func crc16(_ value: UInt32, seed: UInt16) -> UInt16 {
        (0..<4).reduce(seed) { crc, byte in
            crc >> 8 ^ ibm[Int((crc ^ UInt16(truncatingIfNeeded: value >> UInt32(8 * byte))) & 0xFF)]
        }
    }

    /// The CRC-32 (polynomial 0x04C11DB7, highest bit first) of `bytes` that continues `seed`: what commit blocks of
    /// journals hold of a whole transaction.
    public static func crc32(_ bytes: RawSpan, seed: UInt32) -> UInt32 {
        var crc = seed
        for offset in 0..<bytes.byteCount {
            crc = crc << 8 ^ ethernet[Int((crc >> 24 ^ UInt32(bytes.uint8(at: offset))) & 0xFF)]
        }
        return crc
    }

    private static let ethernet: [UInt32] = (0..<256).map {
        (0..<8).reduce($0 << 24) { crc, _ in
            crc & 0x8000_0000 != 0 ? crc << 1 ^ 0x04C1_1DB7 : crc << 1
        }
    }

    private static let ibm: [UInt16] = (0..<256).map {
        (0..<8).reduce($0) { crc, _ in
            crc & 1 != 0 ? crc >> 1 ^ 0xA001 : crc >> 1
        }
    }
}
