import BlockStorage
import TestTools

@testable import Volumes

/// Structures made by hand, with the right checksums, for contents that no tool would write.
enum HandMade {
    /// A boot record; an entry is its type, first sector and number of sectors.
    static func bootRecord(_ entries: (type: UInt8, first: UInt32, count: UInt32)...) -> [UInt8] {
        var sector = [UInt8](repeating: 0, count: 512)
        for (index, entry) in entries.enumerated() {
            sector[446 + 16 * index + 4] = entry.type
            sector.store(entry.first, at: 446 + 16 * index + 8)
            sector.store(entry.count, at: 446 + 16 * index + 12)
        }
        sector.store(UInt16(0xaa55), at: 510)
        return sector
    }

    /// A GPT header for sector 1 of a disk, with `entries` at sector 2; `change` gets at it before the checksum.
    static func gptHeader(entries: [UInt8], diskSize: Int, change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
        var sector = Array("EFI PART".utf8) + [UInt8](repeating: 0, count: 504)
        sector.store(UInt32(0x10000), at: 8)
        sector.store(UInt32(92), at: 12)
        sector.store(UInt64(1), at: 24)
        sector.store(UInt64(diskSize / 512 - 1), at: 32)
        sector.store(UInt64(2), at: 72)
        sector.store(UInt32(entries.count / 128), at: 80)
        sector.store(UInt32(128), at: 84)
        sector.store(CRC32.checksum(entries[...]), at: 88)
        change(&sector)
        fixGPTHeader(&sector)
        return sector
    }

    static func gptEntry(first: UInt64, last: UInt64) -> [UInt8] {
        var entry = [UInt8](repeating: 0, count: 128)
        entry[0] = 1
        entry.store(first, at: 32)
        entry.store(last, at: 40)
        return entry
    }

    /// Puts the right checksum into a GPT header, as far as its length makes sense.
    static func fixGPTHeader(_ sector: inout [UInt8]) {
        let length = Int(sector.littleEndian(UInt32.self, at: 12))
        guard (92...sector.count).contains(length) else { return }
        sector.store(UInt32(0), at: 16)
        sector.store(CRC32.checksum(sector[..<length]), at: 16)
    }

    /// An LVM2 label for sector `number`, with metadata areas in bytes of the physical volume.
    static func label(number: Int = 1, size: Int, metadataAreas: [(UInt64, UInt64)]) -> [UInt8] {
        var sector = Array("LABELONE".utf8) + [UInt8](repeating: 0, count: 504)
        sector.store(UInt64(number), at: 8)
        sector.store(UInt32(32), at: 20)
        sector.replaceSubrange(24..<32, with: "LVM2 001".utf8)
        sector.replaceSubrange(32..<64, with: identifier.utf8)
        sector.store(UInt64(size), at: 64)
        sector.store(UInt64(1 << 20), at: 72)
        for (index, area) in metadataAreas.enumerated() {
            sector.store(area.0, at: 104 + 16 * index)
            sector.store(area.1, at: 112 + 16 * index)
        }
        fixLabel(&sector)
        return sector
    }

    static let identifier = "0123456789abcdefghijklmnopqrstuv"

    static func fixLabel(_ sector: inout [UInt8]) {
        sector.store(LVMChecksum.of(sector[20...]), at: 16)
    }

    /// A metadata area's header; `change` gets at it before the checksum.
    static func metadataHeader(
        start: Int, size: UInt64, text: [UInt8], change: (inout [UInt8]) -> Void = { _ in }
    ) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: 512)
        header.replaceSubrange(4..<20, with: " LVM2 x[5A%r0N*>".utf8)
        header.store(UInt32(1), at: 20)
        header.store(UInt64(start), at: 24)
        header.store(size, at: 32)
        header.store(UInt64(512), at: 40)
        header.store(UInt64(text.count), at: 48)
        header.store(LVMChecksum.of(text[...]), at: 56)
        change(&header)
        fixMetadataHeader(&header)
        return header
    }

    static func fixMetadataHeader(_ header: inout [UInt8]) {
        header.store(LVMChecksum.of(header[4...]), at: 0)
    }

    /// A disk that is one physical volume with `text` as its metadata.
    static func lvmDisk(
        _ text: String, size: Int = 64 << 20, areaSize: Int? = nil, change: (inout [UInt8]) -> Void = { _ in }
    ) throws -> MemoryDevice {
        let bytes = [UInt8](text.utf8) + [0]
        let areaSize = areaSize ?? max(bytes.count + 512, 1 << 19)
        let disk = MemoryDevice(size: size)
        try disk.write(label(size: size, metadataAreas: [(4096, UInt64(areaSize))]), at: 512)
        try disk.write(metadataHeader(start: 4096, size: UInt64(areaSize), text: bytes, change: change), at: 4096)
        try disk.write(bytes, at: 4096 + 512)
        return disk
    }

    /// The metadata of a group of 1 MiB extents on that disk, with the logical volumes described.
    static func group(_ logicalVolumes: String, extentSize: String = "2048", extentCount: String = "60") -> String {
        """
        vg { id = "group" seqno = 1 extent_size = \(extentSize) physical_volumes { pv0 { id = "\(identifier)"
        pe_start = 2048 pe_count = \(extentCount) } } logical_volumes { \(logicalVolumes) } }
        """
    }

    /// A visible logical volume with these segments.
    static func volume(_ name: String, _ segments: String...) -> String {
        let numbered = segments.enumerated().map { "segment\($0 + 1) { \($1) }" }.joined(separator: " ")
        return "\(name) { status = [\"READ\", \"VISIBLE\"] segment_count = \(segments.count) \(numbered) }"
    }

    /// A linear segment on the disk's only physical volume.
    static func linear(_ start: String, _ count: String, at extent: String) -> String {
        """
        start_extent = \(start) extent_count = \(count) type = "striped" stripe_count = 1 stripes = ["pv0", \(extent)]
        """
    }
}

/// What holds for every layout, whatever the disk says; returns what does not.
func brokenInvariants(of layout: DiskLayout, diskSize: Int) -> [String] {
    var broken: [String] = []
    let disk = ByteRange(offset: 0, length: diskSize)
    for partition in layout.partitions where !disk.contains(partition.range) || partition.range.isEmpty {
        broken.append("partition \(partition)")
    }
    if zip(layout.partitions, layout.partitions.dropFirst()).contains(where: { $0.index >= $1.index }) {
        broken.append("indices of partitions")
    }
    for volume in layout.volumes + layout.degradedVolumes {
        if !volume.map.diskRanges.allSatisfy(disk.contains) || volume.map.end > volume.size {
            broken.append("volume \(volume)")
        }
    }
    let all = layout.volumes + layout.degradedVolumes
    if Set(all.map(\.name)).count != all.count { broken.append("names \(all.map(\.name))") }
    if !layout.volumes.allSatisfy(\.isComplete) || layout.degradedVolumes.contains(where: \.isComplete) {
        broken.append("completeness")
    }
    let claims = all.flatMap(\.map.diskRanges).sorted { $0.offset < $1.offset }
    if zip(claims, claims.dropFirst()).contains(where: { $0.end > $1.offset }) { broken.append("volumes that share") }
    let structures = layout.structures.map(\.range)
    if !structures.allSatisfy({ disk.contains($0) && !$0.isEmpty })
        || zip(structures, structures.dropFirst()).contains(where: { $0.end > $1.offset })
    {
        broken.append("structures \(structures)")
    }
    if layout.problems.count > 65
        || layout.problems.contains(where: { $0.message.isEmpty || $0.message.contains("\n") })
    {
        broken.append("problems")
    }
    return broken
}
