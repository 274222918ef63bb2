import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Volumes

/// Headers that real tools wrote, damaged in 50,000 ways each: no crash, no endless work, no range outside the disk.
///
/// Half of the damaged headers get the right checksum, so that the fields behind it are read too.
struct MutationTests {
    private static let count = 50_000

    /// A structure to damage: where it is, and how its checksums are put right.
    private struct Target {
        let range: ByteRange
        let fixChecksums: (inout [UInt8], MemoryDevice) throws -> Void
    }

    @Test(.timeLimit(.minutes(10)), arguments: [0, 1, 2]) func bootRecords(record: Int) throws {
        let script = """
            label: dos
            start=2048, size=4096, type=83
            start=8192, size=16384, type=5
            start=10240, size=2048, type=83
            start=14336, size=2048, type=83
            """
        let disk = try partitionedDisk(script)
        let records = try DiskLayout.read(from: disk).structures.map(\.range)
        #expect(records.count == 3)
        try damage(disk, Target(range: records[record]) { _, _ in }, seed: 10 + UInt64(record))
    }

    @Test(.timeLimit(.minutes(10))) func headerOfGPT() throws {
        let disk = try partitionedDisk("label: gpt\ntable-length: 4\nstart=2048, size=4096\nstart=8192, size=4096\n")
        #expect(try DiskLayout.read(from: disk).partitions.count == 2)
        let header = Target(range: ByteRange(offset: 512, length: 512)) { bytes, _ in HandMade.fixGPTHeader(&bytes) }
        try damage(disk, header, seed: 20)
    }

    @Test(.timeLimit(.minutes(10))) func entriesOfGPT() throws {
        let disk = try partitionedDisk("label: gpt\ntable-length: 4\nstart=2048, size=4096\nstart=8192, size=4096\n")
        let original = try disk.read(ByteRange(offset: 512, length: 512))
        let entries = Target(range: ByteRange(offset: 1024, length: 512)) { bytes, disk in
            var header = original
            header.store(CRC32.checksum(bytes[...]), at: 88)
            HandMade.fixGPTHeader(&header)
            try disk.write(header, at: 512)
        }
        try damage(disk, entries, seed: 21)
    }

    @Test(.timeLimit(.minutes(10))) func label() throws {
        let label = Target(range: ByteRange(offset: 512, length: 512)) { bytes, _ in HandMade.fixLabel(&bytes) }
        try damage(lvmDisk(), label, seed: 30)
    }

    @Test(.timeLimit(.minutes(10))) func headerOfTheMetadataArea() throws {
        let header = Target(range: ByteRange(offset: 4096, length: 512)) { bytes, _ in
            HandMade.fixMetadataHeader(&bytes)
        }
        try damage(lvmDisk(), header, seed: 31)
    }

    @Test(.timeLimit(.minutes(10))) func textOfTheMetadata() throws {
        let disk = try lvmDisk()
        let original = try disk.read(ByteRange(offset: 4096, length: 512))
        let header = try LVMMetadataHeader(
            parsing: original, area: ByteRange(offset: 4096, length: (1 << 20) - 4096), origin: 0)
        #expect(header.textRanges.count == 1)
        let text = Target(range: header.textRanges[0]) { bytes, disk in
            var header = original
            header.store(LVMChecksum.of(bytes[...]), at: 56)
            HandMade.fixMetadataHeader(&header)
            try disk.write(header, at: 4096)
        }
        try damage(disk, text, seed: 32)
    }

    /// Reads the disk with `target` damaged in many ways.
    private func damage(_ disk: MemoryDevice, _ target: Target, seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        // What fixing checksums elsewhere changes.
        let header = ByteRange(offset: target.range.offset >= 4096 ? 4096 : 512, length: 512)
        let originalHeader = try disk.read(header)
        let original = try disk.read(target.range)
        var changed = 0
        let usual = summary(of: try DiskLayout.read(from: disk))
        for number in 0..<Self.count {
            var bytes = original
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                Self.damage(&bytes, &generator)
            }
            if number.isMultiple(of: 2) { try target.fixChecksums(&bytes, disk) }
            try disk.write(bytes, at: target.range.offset)
            let layout = try DiskLayout.read(from: disk)
            if summary(of: layout) != usual { changed += 1 }
            let broken = brokenInvariants(of: layout, diskSize: disk.size)
            guard broken.isEmpty else {
                Issue.record("damage \(number): \(broken)")
                return
            }
            try disk.write(originalHeader, at: header.offset)
            try disk.write(original, at: target.range.offset)
        }
        // Otherwise the damage did not reach what is read.
        #expect(changed > Self.count / 10)
    }

    /// Changes a bit, a byte, a field or a run.
    private static func damage(_ bytes: inout [UInt8], _ generator: inout SplitMix64) {
        let position = Int.random(in: bytes.indices, using: &generator)
        switch Int.random(in: 0..<5, using: &generator) {
        case 0:
            bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1:
            bytes[position] = UInt8.random(in: 0...255, using: &generator)
        case 2:
            let values: [UInt32] = [0, 1, .max, 1 << 31, .max >> 1, 512, 4096]
            let aligned = min(position & ~3, bytes.count - 4)
            bytes.store(values[Int.random(in: values.indices, using: &generator)], at: aligned)
        case 3:
            // Text: a digit, a brace or a quote where there was none.
            let characters = Array("0123456789{}[]\"=,# \n\\-".utf8)
            bytes[position] = characters[Int.random(in: characters.indices, using: &generator)]
        default:
            let source = Int.random(in: bytes.indices, using: &generator)
            let length = min(Int.random(in: 1...16, using: &generator), bytes.count - max(source, position))
            bytes.replaceSubrange(position..<position + length, with: bytes[source..<source + length])
        }
    }

    private func summary(of layout: DiskLayout) -> [Int] {
        layout.partitions.flatMap { [$0.range.offset, $0.range.length] } + [
            layout.problems.count, layout.volumes.count,
        ]
            + layout.volumes.flatMap { $0.map.diskRanges.map(\.offset) }
    }

    private func partitionedDisk(_ script: String) throws -> MemoryDevice {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk"
            try makeSparseFile(path, size: 16 << 20)
            try runTool("sfdisk", ["--quiet", path], input: script)
            return try copy(of: path)
        }
    }

    /// A disk that is a physical volume with a linear and a striped volume.
    private func lvmDisk() throws -> MemoryDevice {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk"
            try makeSparseFile(path, size: 16 << 20)
            return try withLoopDevices(path, parts: [(0, 16 << 20)]) { devices in
                let lvm = try LVMTool(devices: devices, directory: directory)
                try lvm("pvcreate", devices[0])
                try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", devices[0])
                try lvm.createVolume("--extents", "5", "--name", "root", "vg-0")
                return try copy(of: path)
            }
        }
    }

    private func copy(of path: String) throws -> MemoryDevice {
        let file = try FileDevice(path: path, access: .readOnly, mode: .buffered)
        let ends = [ByteRange(offset: 0, length: 9 << 20), ByteRange(offset: file.size - (1 << 20), length: 1 << 20)]
        return try MemoryDevice(copying: ends, of: file)
    }
}
