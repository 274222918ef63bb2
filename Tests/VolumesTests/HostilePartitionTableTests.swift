import BlockStorage
import TestTools
import Testing

@testable import Volumes

/// Tables that no tool writes: what they cost is a line in the problems, and no more than what they describe.
struct HostilePartitionTableTests {
    private let size = 16 << 20

    @Test func partitionsPastTheEndAreCutOrLeftOut() throws {
        let layout = try read { try $0.write(HandMade.bootRecord((0x83, 2048, .max), (0x83, .max, .max)), at: 0) }
        #expect(
            layout.partitions == [Partition(index: 1, range: ByteRange(offset: 1 << 20, length: 15 << 20), type: "83")])
        #expect(
            layout.problems.map(\.description) == [
                "offset 446: partition 1 ends at 2199024303616, expected at most the disk's end at 16777216; cut there",
                "offset 462: partition 2 starts at 2199023255040, expected before the disk's end at 16777216; left out",
            ])
    }

    @Test func extendedBootRecordsThatPointInACircle() throws {
        let layout = try read { disk in
            try disk.write(HandMade.bootRecord((0x05, 2048, 8192)), at: 0)
            try disk.write(HandMade.bootRecord((0x83, 1, 10), (0x05, 100, 100)), at: 2048 * 512)
            try disk.write(HandMade.bootRecord((0x83, 1, 10), (0x05, 0, 100)), at: 2148 * 512)
        }
        #expect(layout.partitions.map(\.index) == [1, 5, 6])
        #expect(layout.problems.map(\.offset) == [1 << 20])
        #expect(layout.problems[0].message.contains("returns to this one"))
    }

    @Test func extendedPartitionThatStartsAtTheMasterBootRecord() throws {
        let layout = try read { try $0.write(HandMade.bootRecord((0x05, 0, 8192), (0x05, 0, 8192)), at: 0) }
        #expect(layout.problems.count == 2)
        #expect(layout.partitions.map(\.index) == [1, 2])
    }

    @Test func chainOfExtendedBootRecordsWithoutEnd() throws {
        let layout = try read { disk in
            try disk.write(HandMade.bootRecord((0x0f, 2048, 30000)), at: 0)
            for number in UInt32(0)..<1000 {
                let record = HandMade.bootRecord((0x83, 1, 1), (0x05, (number + 1) * 2, 2))
                try disk.write(record, at: (2048 + Int(number) * 2) * 512)
            }
        }
        #expect(layout.partitions.count < 256)
        #expect(layout.problems.count == 1)
        #expect(layout.problems[0].message.contains("the rest is left out"))
    }

    @Test func extendedBootRecordsThatAreNoneOrOutside() throws {
        let missing = try read { try $0.write(HandMade.bootRecord((0x05, 2048, 8192)), at: 0) }
        #expect(missing.problems.map(\.description).count == 1)
        #expect(missing.problems[0].offset == 1 << 20)
        #expect(missing.problems[0].message.contains("expected four partition entries and the signature 55 aa"))
        let outside = try read { disk in
            try disk.write(HandMade.bootRecord((0x05, 2048, 8192)), at: 0)
            try disk.write(HandMade.bootRecord((0x83, 1, 10), (0x05, 9000, 100)), at: 2048 * 512)
        }
        #expect(outside.problems.map(\.offset) == [(1 << 20) + 462])
        let pastTheEnd = try read { try $0.write(HandMade.bootRecord((0x05, 32767, 8192)), at: 0) }
        #expect(pastTheEnd.problems.count == 2)
    }

    @Test(
        arguments: [
            (80, .max, "4294967295 GPT entries"), (84, 0, "entry size 0"), (84, .max, "entry size 4294967295"),
            (84, 129, "entry size 129"), (12, 91, "header length 91"), (12, .max, "header length 4294967295"),
            (24, 7, "says that it is sector 7"), (72, 0, "GPT entries at sector 0"), (76, .max, "outside the disk"),
            (88, 1, "expected 0x1 as the header at 512 says"),
        ] as [(Int, UInt32, String)])
    func headersOfGPTThatLie(field: Int, value: UInt32, message: String) throws {
        let layout = try read { disk in
            let entries = HandMade.gptEntry(first: 40, last: 50)
            try disk.write(HandMade.bootRecord((0xee, 1, .max)), at: 0)
            try disk.write(
                HandMade.gptHeader(entries: entries, diskSize: size) { $0.store(value, at: field) }, at: 512)
            try disk.write(entries, at: 1024)
        }
        #expect(layout.partitionTable == .mbr)
        #expect(layout.volumes.map(\.name) == ["disk"])
        #expect(layout.problems.count == 1)
        #expect(layout.problems[0].message.contains(message), "\(layout.problems)")
    }

    @Test func entriesOfGPTThatLie() throws {
        let spans: [(UInt64, UInt64)] = [
            (40, 50), (60, 55), (.max, .max), (0, .max), (.max / 512, .max / 512 + 1), (100, 1 << 40),
            (1 << 50, 1 << 51),
        ]
        let entries = spans.flatMap { HandMade.gptEntry(first: $0.0, last: $0.1) }
        let layout = try read { disk in
            try disk.write(HandMade.bootRecord((0xee, 1, .max)), at: 0)
            try disk.write(HandMade.gptHeader(entries: entries, diskSize: size), at: 512)
            try disk.write(entries, at: 1024)
        }
        #expect(layout.partitions.map(\.index) == [1, 6])
        #expect(layout.partitions[1].range == ByteRange(offset: 51200, length: size - 51200))
        #expect(layout.problems.count == 7)
    }

    @Test func partitionsThatOverlapGiveOneVolume() throws {
        let layout = try read {
            try $0.write(HandMade.bootRecord((0x83, 2048, 4096), (0x83, 4096, 4096), (0x83, 8192, 100)), at: 0)
        }
        #expect(layout.partitions.count == 3)
        #expect(layout.volumes.map(\.name) == ["partition 1", "partition 3"])
        #expect(
            layout.problems.map(\.message) == [
                "partition 2 and partition 1 share bytes, expected none; partition 2 is left out"
            ])
    }

    @Test func headerWithoutAProtectiveEntryIsARelic() throws {
        let layout = try read { disk in
            try disk.write(HandMade.gptHeader(entries: HandMade.gptEntry(first: 40, last: 50), diskSize: size), at: 512)
        }
        #expect(layout.partitionTable == .none)
        #expect(layout.volumes.map(\.name) == ["disk"])
        #expect(layout.problems.map(\.offset) == [512])
    }

    @Test func protectiveEntryWithoutAHeader() throws {
        let layout = try read { try $0.write(HandMade.bootRecord((0xee, 1, .max)), at: 0) }
        #expect(layout.partitionTable == .mbr)
        #expect(
            layout.problems.map(\.message) == [
                "no GPT header, although the master boot record says that a GPT rules this disk"
            ])
    }

    /// The start of a FAT file system: the signature of a boot record, and zeros where the entries would be.
    @Test func bootSectorOfAFileSystemIsNoTable() throws {
        var sector = HandMade.bootRecord()
        sector.replaceSubrange(0..<11, with: [0xeb, 0x3c, 0x90] + Array("mkfs.fat".utf8))
        sector.store(UInt16(512), at: 11)
        sector[13] = 4
        sector[21] = 0xf8
        let layout = try read { try $0.write(sector, at: 0) }
        #expect(layout.partitionTable == .none)
        #expect(layout.structures == [])
        sector = HandMade.bootRecord()
        sector[446] = 0x12
        #expect(BootRecord(parsing: sector) == nil)
    }

    @Test(arguments: [0, 1, 511, 512, 513, 1023, 1024, 4096]) func disksTooSmallForAnything(size: Int) throws {
        let layout = try DiskLayout.read(from: MemoryDevice(size: size))
        #expect(layout.partitionTable == .none)
        #expect(layout.volumes == [Volume(name: "disk", range: ByteRange(offset: 0, length: size))])
        #expect(layout.structures == [] && layout.problems == [] && layout.partitions == [])
        guard size >= 512 else { return }
        let disk = MemoryDevice(size: size)
        try disk.write(HandMade.bootRecord((0xee, 1, .max), (0x05, 1, 1), (0x83, 0, .max)), at: 0)
        #expect(try brokenInvariants(of: DiskLayout.read(from: disk), diskSize: size) == [])
    }

    private func read(_ make: (MemoryDevice) throws -> Void) throws -> DiskLayout {
        let disk = MemoryDevice(size: size)
        try make(disk)
        let layout = try DiskLayout.read(from: disk)
        #expect(brokenInvariants(of: layout, diskSize: size) == [])
        return layout
    }

    @Test func aProtectiveEntryOfNoLengthProtects() throws {
        let disk = MemoryDevice(size: 4 << 20)
        var sector = HandMade.bootRecord((0xee, 1, 0))
        try disk.write(sector, at: 0)
        let entries = HandMade.gptEntry(first: 2048, last: 4095) + [UInt8](repeating: 0, count: 127 * 128)
        try disk.write(entries, at: 1024)
        try disk.write(HandMade.gptHeader(entries: entries, diskSize: disk.size), at: 512)
        let layout = try DiskLayout.read(from: disk)
        #expect(layout.partitionTable == .gpt)
        #expect(layout.partitions.map(\.range) == [ByteRange(offset: 1 << 20, length: 1 << 20)])
        // Without any the header is a relic.
        sector[450] = 0
        try disk.write(sector, at: 0)
        #expect(try DiskLayout.read(from: disk).partitionTable == .mbr)
    }

    @Test func aBootRecordOfLargeSectorsIsToldByWhatBeginsThere() throws {
        let disk = MemoryDevice(size: 16 << 20)
        try disk.write(HandMade.bootRecord((0x83, 256, 1024)), at: 0)
        #expect(try DiskLayout.read(from: disk).sectorSize == 512)
        #expect(try DiskLayout.read(from: disk, sectorSize: 4096).partitions.map(\.range.offset) == [1 << 20])
        try disk.write([0x53, 0xef], at: (1 << 20) + 1080)
        let layout = try DiskLayout.read(from: disk)
        #expect(layout.sectorSize == 4096)
        #expect(layout.partitions.map(\.range) == [ByteRange(offset: 1 << 20, length: 4 << 20)])
        #expect(layout.problems.contains { $0.message.contains("sectors of 4096 bytes") })
        // What begins where sectors of 512 bytes put it goes before.
        try disk.write([0x53, 0xef], at: 256 * 512 + 1080)
        #expect(try DiskLayout.read(from: disk).sectorSize == 512)
        #expect(try DiskLayout.read(from: disk, sectorSize: 4096).sectorSize == 4096)
    }
}
