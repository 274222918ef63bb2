import BlockStorage
import TestTools

/// Makes the checksums of partition tables and LVM metadata right again, so that what patches changed is believed.
///
/// Where the structures are comes from the disk as the tools made it.
struct Checksums: Sendable {
    /// GPT headers, by their first byte.
    private let gptHeaders: [Int]
    /// LVM labels, by their first byte.
    private let labels: [Int]
    /// LVM metadata areas, by the first byte of their headers.
    private let metadataAreas: [Int]

    /// Finds the structures of `disk`.
    init(of disk: PatchedDisk) {
        let sectors = disk.pieces.filter { $0 % 512 == 0 }.map { ($0, Self.bytes($0, 20, disk)) }
        gptHeaders = sectors.filter { $1.starts(with: Array("EFI PART".utf8)) }.map(\.0)
        labels = sectors.filter { $1.starts(with: Array("LABELONE".utf8)) }.map(\.0)
        metadataAreas = sectors.filter { $1[4...].starts(with: Array(" LVM2 x[5A%r0N*>".utf8)) }.map(\.0)
    }

    /// Stores right checksums into `disk`.
    func repair(_ disk: PatchedDisk) {
        for header in gptHeaders {
            repairGPT(header, disk)
        }
        for label in labels {
            store(lvm(label + 20, 492, disk), at: label + 16, disk)
        }
        for area in metadataAreas {
            // The text, where the header's first raw location says it is.
            let offset = number(8, at: area + 40, disk)
            let length = number(8, at: area + 48, disk)
            if offset <= 1 << 20, length <= 1 << 20 {
                store(lvm(area + offset, length, disk), at: area + 56, disk)
            }
            store(lvm(area + 4, 508, disk), at: area, disk)
        }
    }

    private func repairGPT(_ header: Int, _ disk: PatchedDisk) {
        let sectorSize = disk.size % 4096 == 0 && header % 4096 == 0 ? 4096 : 512
        let entries = number(8, at: header + 72, disk)
        let (length, overflow) = number(4, at: header + 80, disk)
            .multipliedReportingOverflow(by: number(4, at: header + 84, disk))
        if entries <= disk.size / sectorSize, !overflow, length <= 1 << 20 {
            store(~Self.update(.max, Self.bytes(entries * sectorSize, length, disk)), at: header + 88, disk)
        }
        let headerLength = number(4, at: header + 12, disk)
        guard headerLength <= 4096 else { return }
        store(0, at: header + 16, disk)
        store(~Self.update(.max, Self.bytes(header, headerLength, disk)), at: header + 16, disk)
    }

    private func lvm(_ offset: Int, _ length: Int, _ disk: PatchedDisk) -> UInt32 {
        Self.update(0xf597_a6cf, Self.bytes(offset, length, disk))
    }

    /// Nothing when they are not all on the disk.
    private static func bytes(_ offset: Int, _ length: Int, _ disk: PatchedDisk) -> [UInt8] {
        (try? disk.read(ByteRange(offset: offset, length: length))) ?? []
    }

    /// A little-endian number; the largest for one that is larger.
    private func number(_ width: Int, at offset: Int, _ disk: PatchedDisk) -> Int {
        let bytes = Self.bytes(offset, width, disk)
        return Int(clamping: bytes.number(at: 0, count: bytes.count))
    }

    private func store(_ value: UInt32, at offset: Int, _ disk: PatchedDisk) {
        withUnsafeBytes(of: value.littleEndian) { try? disk.write($0, at: offset) }
    }

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 0 ? value >> 1 : value >> 1 ^ 0xedb8_8320 }
    }

    private static func update(_ register: UInt32, _ bytes: [UInt8]) -> UInt32 {
        bytes.reduce(register) { $0 >> 8 ^ table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] }
    }
}
