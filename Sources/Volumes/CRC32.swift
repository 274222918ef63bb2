/// The cyclic redundancy check of IEEE 802.3, as zlib, GPT (UEFI 5.3.2) and LVM2 (`calc_crc` of lvm2) use it.
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 0 ? value >> 1 : value >> 1 ^ 0xedb8_8320 }
    }

    /// The checksum of `bytes` as zlib and GPT define it: the register starts as ones and is inverted at the end.
    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        ~update(.max, with: bytes)
    }

    /// The register after `bytes`, given the register before them; LVM2 uses it without inversion.
    static func update(_ register: UInt32, with bytes: ArraySlice<UInt8>) -> UInt32 {
        table.withUnsafeBufferPointer { table in
            bytes.withUnsafeBufferPointer { bytes in
                var register = register
                for byte in bytes {
                    register = register >> 8 ^ table[Int(UInt8(truncatingIfNeeded: register) ^ byte)]
                }
                return register
            }
        }
    }
}
