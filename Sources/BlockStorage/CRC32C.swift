/// The CRC-32C (Castagnoli) of storage and network formats (RFC 3720 appendix B.4): the register starts as ones and is
/// inverted at the end.
public enum CRC32C {
    /// `tables[k * 256 + b]` is what byte `b` does to the register when `k` more bytes follow it (slicing by eight).
    private static let tables: [UInt32] = {
        var tables: [UInt32] = []
        for index in 0..<UInt32(256) {
            var value = index
            for _ in 0..<8 {
                value = value & 1 == 0 ? value >> 1 : value >> 1 ^ polynomial
            }
            tables.append(value)
        }
        for index in 256..<8 * 256 {
            let shorter = tables[index - 256]
            tables.append(shorter >> 8 ^ tables[Int(shorter & 0xFF)])
        }
        return tables
    }()

    private static let polynomial: UInt32 = 0x82F6_3B78

    /// The checksum of `bytes`.
    public static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        ~update(.max, with: bytes)
    }

    /// The register after `bytes`, given the register before them; formats that do not invert it continue it so.
    public static func update(_ register: UInt32, with bytes: UnsafeRawBufferPointer) -> UInt32 {
        guard let base = bytes.baseAddress else { return register }
        return tables.withUnsafeBufferPointer { tables in
            var register = register
            var offset = 0
            while offset + 8 <= bytes.count {
                let word = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                let mixed = word ^ UInt64(register)
                register =
                    tables[0x700 | Int(mixed & 0xFF)] ^ tables[0x600 | Int(mixed >> 8 & 0xFF)]
                    ^ tables[0x500 | Int(mixed >> 16 & 0xFF)] ^ tables[0x400 | Int(mixed >> 24 & 0xFF)]
                register ^=
                    tables[0x300 | Int(mixed >> 32 & 0xFF)] ^ tables[0x200 | Int(mixed >> 40 & 0xFF)]
                    ^ tables[0x100 | Int(mixed >> 48 & 0xFF)] ^ tables[Int(mixed >> 56)]
                offset += 8
            }
            while offset < bytes.count {
                let byte = base.load(fromByteOffset: offset, as: UInt8.self)
                register = register >> 8 ^ tables[Int(UInt8(truncatingIfNeeded: register) ^ byte)]
                offset += 1
            }
            return register
        }
    }
}
