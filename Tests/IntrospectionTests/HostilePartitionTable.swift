import BlockStorage
import TestTools

@testable import Volumes

extension HostileImage {
    static func partitionTables() -> [HostileImage] {
        [
            // Each out of its bounds, and told of in a line.
            table("8,192 entries that make no sense", size: 64 << 20) { number in (UInt64.max - number, number) },
            table("8,192 partitions in one", size: 64 << 20) { _ in (40_000, 100_000) },
            table("8,192 partitions", size: 64 << 30) { number in (40_000 + 64 * number, 40_063 + 64 * number) },
        ]
    }

    /// A GPT of 8,192 entries, the most that are read, with the right checksums; written once more by the guest.
    private static func table(
        _ name: String, size: Int, sectors: (UInt64) -> (first: UInt64, last: UInt64)
    ) -> HostileImage {
        let count = 8_192
        var entries = [UInt8](repeating: 0, count: count * 128)
        for number in 0..<count {
            entries[128 * number] = 1
            entries.store(sectors(UInt64(number)).first, at: 128 * number + 32)
            entries.store(sectors(UInt64(number)).last, at: 128 * number + 40)
        }
        var record = [UInt8](repeating: 0, count: 512)
        record[450] = 0xEE
        record.store(UInt32(1), at: 454)
        record.store(UInt32.max, at: 458)
        record.store(UInt16(0xAA55), at: 510)
        var header = Array("EFI PART".utf8) + [UInt8](repeating: 0, count: 504)
        header.store(UInt32(0x1_0000), at: 8)
        header.store(UInt32(92), at: 12)
        header.store(UInt64(1), at: 24)
        header.store(UInt64(size / 512 - 1), at: 32)
        header.store(UInt64(2), at: 72)
        header.store(UInt32(count), at: 80)
        header.store(UInt32(128), at: 84)
        header.store(CRC32.checksum(entries[...]), at: 88)
        header.store(CRC32.checksum(header[..<92]), at: 16)
        let disk = SparseDisk(size: size)
        disk.write(record + header + entries, at: 0)
        return HostileImage(name, disk, writes: [Write(offset: 0, bytes: record), Write(offset: 512, bytes: header)])
    }
}
