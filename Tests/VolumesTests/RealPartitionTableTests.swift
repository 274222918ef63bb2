import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Volumes

/// Tables that sfdisk made, against what sfdisk says of them.
struct RealPartitionTableTests {
    @Test func masterBootRecordWithLogicalPartitions() throws {
        try withTable(
            """
            label: dos
            start=2048, size=20480, type=83, bootable
            start=22528, size=10240, type=82
            start=40960, size=200000, type=f
            start=300000, size=8192, type=8e
            start=43008, size=8192, type=83
            start=60000, size=10000, type=83
            start=90112, size=4096, type=82
            """
        ) { disk, expected in
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.partitionTable == .mbr)
            #expect(layout.sectorSize == 512)
            #expect(layout.problems == [])
            #expect(layout.partitions.map(Row.init) == expected.rows)
            #expect(expected.rows.map(\.index) == [1, 2, 3, 4, 5, 6, 7])
            #expect(layout.volumes.map(\.name) == [1, 2, 4, 5, 6, 7].map { "partition \($0)" })
            #expect(
                layout.volumes.map(\.map) == expected.rows.filter { $0.type != "f" }.map { VolumeMap(linear: $0.range) }
            )
            #expect(layout.structures.count == 4)
            #expect(layout.structures.first?.range == ByteRange(offset: 0, length: 512))
            for structure in layout.structures {
                #expect(structure.kind == .partitionTable)
                #expect(try disk.read(structure.range).suffix(2) == [0x55, 0xaa])
            }
        }
    }

    @Test func emptyMasterBootRecordLeavesTheDiskWhole() throws {
        try withTable("label: dos") { disk, _ in
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.partitionTable == .mbr)
            #expect(layout.partitions == [])
            #expect(layout.volumes == [Volume(name: "disk", range: ByteRange(offset: 0, length: disk.size))])
            #expect(layout.problems == [])
        }
    }

    @Test(arguments: [512, 4096]) func guidPartitionTable(sectorSize: Int) throws {
        let script = """
            label: gpt
            start=4096, size=2048, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI System"
            3: start=8192, size=4096, name="größer \\x22"
            7: size=1000, type=E6D6D379-F507-44C2-A23C-238F2A3DF928
            """
        try withTable(script, sectorSize: sectorSize) { disk, expected in
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.partitionTable == .gpt)
            #expect(layout.sectorSize == sectorSize)
            #expect(layout.problems == [])
            #expect(layout.partitions.map(Row.init) == expected.rows)
            #expect(expected.rows.map(\.index) == [1, 3, 7])
            let lastSector = disk.size - sectorSize
            let ranges = [(0, 512), (sectorSize, sectorSize), (2 * sectorSize, 16384), (lastSector - 16384, 16384)]
            #expect(
                layout.structures.map(\.range)
                    == (ranges + [(lastSector, sectorSize)]).map { ByteRange(offset: $0.0, length: $0.1) })
        }
    }

    @Test(arguments: [512, 4096]) func backupServesWhenThePrimaryIsDamaged(sectorSize: Int) throws {
        let script = "label: gpt\nstart=4096, size=2048\nstart=8192, size=4096\n"
        for damage in [sectorSize + 60, 2 * sectorSize + 32] {
            try withTable(script, sectorSize: sectorSize) { disk, expected in
                let original = try disk.read(ByteRange(offset: damage, length: 1))
                try disk.write([original[0] ^ 0x40], at: damage)
                let layout = try DiskLayout.read(from: disk)
                #expect(layout.partitionTable == .gpt)
                #expect(layout.sectorSize == sectorSize)
                #expect(layout.partitions.map(Row.init) == expected.rows)
                #expect(layout.problems.count == 2)
                #expect(layout.problems.first?.message.contains("checksum") == true)
                #expect(layout.problems.last?.message.contains("backup") == true)
            }
        }
    }

    @Test func damagedBackupIsReportedAndThePrimaryServes() throws {
        try withTable("label: gpt\nstart=4096, size=2048\n") { disk, expected in
            try disk.write([0], at: disk.size - 512)
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.partitions.map(Row.init) == expected.rows)
            #expect(
                layout.problems == [
                    VolumeProblem(
                        offset: disk.size - 512, message: "no backup GPT header: the signature EFI PART is missing")
                ])
        }
    }

    @Test func bothCopiesDamagedLeaveTheDiskWhole() throws {
        try withTable("label: gpt\nstart=4096, size=2048\n") { disk, _ in
            try disk.write([0xff], at: 512 + 20)
            try disk.write([0xff], at: disk.size - 512 + 20)
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.partitionTable == .mbr)
            #expect(layout.volumes.map(\.name) == ["disk"])
            #expect(layout.problems.map(\.offset) == [512, disk.size - 512])
        }
    }

    @Test func tableOfAGrownDisk() throws {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk"
            try makeSparseFile(path, size: 64 << 20)
            try runTool("sfdisk", ["--quiet", path], input: "label: gpt\nstart=4096, size=2048\n")
            #expect(truncate(path, 128 << 20) == 0)
            let layout = try DiskLayout.read(from: FileDevice(path: path, access: .readOnly, mode: .buffered))
            #expect(layout.partitions.count == 1)
            #expect(layout.problems.count == 1)
            #expect(
                layout.problems[0].message == "the backup GPT is said to be at sector 131071, expected the last, 262143"
            )
            #expect(layout.structures.contains { $0.range.offset == (64 << 20) - 512 })
        }
    }

    @Test func truncatedImageKeepsWhatIsThere() throws {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk"
            try makeSparseFile(path, size: 64 << 20)
            try runTool(
                "sfdisk", ["--quiet", path], input: "label: gpt\nstart=4096, size=2048\nstart=8192, size=80000\n")
            #expect(truncate(path, 32 << 20) == 0)
            let layout = try DiskLayout.read(from: FileDevice(path: path, access: .readOnly, mode: .buffered))
            #expect(layout.partitions.map(\.range.end) == [6144 * 512, 32 << 20])
            #expect(
                layout.problems.map(\.description).contains(
                    "offset 1152: partition 2 ends at 45154304, expected at most the disk's end at 33554432; cut there")
            )
        }
    }

    /// A GPT whose master boot record lists a partition besides the protective entry, as gdisk's hybrids have it.
    @Test func hybridTableIsReadAsGPT() throws {
        try withTable("label: gpt\nstart=4096, size=2048\nstart=8192, size=4096\n") { disk, expected in
            var sector = try disk.read(ByteRange(offset: 0, length: 512))
            sector.replaceSubrange(462..<478, with: [0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 0x20, 0, 0, 0, 0x10, 0, 0])
            try disk.write(sector, at: 0)
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.partitionTable == .hybrid)
            #expect(layout.partitions.map(Row.init) == expected.rows)
            #expect(layout.problems == [])
        }
    }

    @Test func fileSystemWithoutATable() throws {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk"
            try makeSparseFile(path, size: 64 << 20)
            try runTool("mke2fs", ["-q", "-F", path])
            let layout = try DiskLayout.read(from: FileDevice(path: path, access: .readOnly, mode: .buffered))
            #expect(layout.partitionTable == .none)
            #expect(layout.volumes == [Volume(name: "disk", range: ByteRange(offset: 0, length: 64 << 20))])
            #expect(layout.structures == [])
            #expect(layout.problems == [])
        }
    }

    /// What sfdisk says of a partition.
    private struct Row: Equatable {
        let index: Int
        let range: ByteRange
        let type: String
        let name: String

        init(_ partition: Partition) {
            (index, range, type, name) = (partition.index, partition.range, partition.type, partition.name)
        }

        init(index: Int, range: ByteRange, type: String, name: String) {
            (self.index, self.range, self.type, self.name) = (index, range, type, name)
        }
    }

    /// The part of `sfdisk --json` that is compared.
    private struct Report: Decodable {
        struct Table: Decodable {
            let sectorsize: Int
            let partitions: [Partition]?
        }
        struct Partition: Decodable {
            let node: String
            let start: Int
            let size: Int
            let type: String
            let name: String?
        }
        let partitiontable: Table

        var rows: [Row] {
            (partitiontable.partitions ?? []).map { partition in
                let digits = partition.node.reversed().prefix { $0.isNumber }.reversed()
                let range = ByteRange(
                    offset: partition.start * partitiontable.sectorsize,
                    length: partition.size * partitiontable.sectorsize)
                return Row(
                    index: Int(String(digits)) ?? 0, range: range, type: partition.type, name: partition.name ?? "")
            }
        }
    }

    /// Calls `body` with a disk that sfdisk partitioned, and sfdisk's own report of it.
    private func withTable(
        _ script: String, sectorSize: Int = 512, _ body: (FileDevice, Report) throws -> Void
    ) throws {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk-"
            try makeSparseFile(path, size: 256 << 20)
            try withLoopDevices(path, parts: [(0, 256 << 20)], sectorSize: sectorSize) { devices in
                try runTool("sfdisk", ["--quiet", "--no-reread", "--no-tell-kernel", devices[0]], input: script)
                let json = try runTool("sfdisk", ["--json", devices[0]])
                let report = try JSONDecoder().decode(Report.self, from: Data(json.utf8))
                try body(FileDevice(path: path, access: .readWrite, mode: .buffered), report)
            }
        }
    }
}
