import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Volumes

/// Metadata that no lvm writes.
struct HostileLVMTests {
    @Test func aGoodGroupMadeByHandIsRead() throws {
        let text = HandMade.group(HandMade.volume("root", HandMade.linear("0", "3", at: "2")))
        let layout = try read(HandMade.lvmDisk(text))
        #expect(layout.problems == [])
        #expect(layout.volumes == [Volume(name: "vg/root", range: ByteRange(offset: 3 << 20, length: 3 << 20))])
    }

    @Test func labelsThatClaimOtherSectorsOrAreDamaged() throws {
        let disk = MemoryDevice(size: 16 << 20)
        try disk.write(HandMade.label(number: 3, size: 16 << 20, metadataAreas: []), at: 0)
        var damaged = HandMade.label(number: 1, size: 16 << 20, metadataAreas: [])
        damaged[100] ^= 1
        try disk.write(damaged, at: 512)
        let layout = try read(disk)
        #expect(layout.volumes.map(\.name) == ["disk"])
        #expect(layout.problems.map(\.offset) == [0, 512])
        #expect(layout.problems[0].message.contains("says that it is in sector 3, but it is in sector 0"))
        #expect(layout.problems[1].message.contains("checksum"))
        try disk.write(HandMade.label(number: 3, size: 16 << 20, metadataAreas: []), at: 3 * 512)
        #expect(try read(disk).volumes == [])
    }

    @Test func labelWhoseListsHaveNoEnd() throws {
        let disk = MemoryDevice(size: 16 << 20)
        let areas = [(UInt64, UInt64)](repeating: (4096, 4096), count: 25)
        try disk.write(HandMade.label(size: 16 << 20, metadataAreas: areas), at: 512)
        #expect(
            try read(disk).problems.map(\.message) == [
                "LVM2 label lists more areas than its sector can hold; ignored"
            ])
    }

    @Test(
        arguments: [
            (0, 0), (4096, 0), (4096, 100), (4096, .max), (.max, 4096), (1 << 40, 4096), (4096, 1 << 30),
        ] as [(UInt64, UInt64)])
    func metadataAreasOutsideOrTooSmall(start: UInt64, length: UInt64) throws {
        let disk = MemoryDevice(size: 16 << 20)
        try disk.write(HandMade.label(size: 16 << 20, metadataAreas: [(start, length)]), at: 512)
        let layout = try read(disk)
        #expect(layout.volumes == [])
        #expect(layout.problems.last?.message.contains("expected metadata that lists it") == true)
    }

    @Test(arguments: [
        (32, 0, "size 0, expected more than 512"), (32, .max, "size 18446744073709551615"),
        (32, 512, "size 512, expected more than 512"), (24, 8192, "says that it starts at 8192"),
        (40, 1 << 40, "text at 1099511627776 of the area"), (40, .max, "text at 18446744073709551615"),
        (40, 100, "text at 100 of the area, expected from 512"), (48, .max, "text of 18446744073709551615 bytes"),
        (48, 1 << 22, "text of 4194304 bytes"), (48, 3, "checksum of the text"), (56, 1, "expected 0x1"),
    ])
    func headersOfMetadataAreasThatLie(field: Int, value: UInt64, message: String) throws {
        let text = HandMade.group(HandMade.volume("root", HandMade.linear("0", "3", at: "2")))
        let layout = try read(HandMade.lvmDisk(text) { $0.store(value, at: field) })
        #expect(layout.volumes == [])
        #expect(layout.problems.contains { $0.message.contains(message) }, "\(layout.problems)")
    }

    @Test(arguments: [
        ("vg { id = \"x", "no end"), ("vg { a = [1, 2", "inside an array"), ("vg {", "inside 1 sections"),
        ("}", "unexpected }"),
        ("vg", "expected = or {"), ("vg { a = }", "expected a value"), ("= 1", "expected a name"),
        ("vg { a = \"\\", "no end"), ("", "0 volume groups"), ("a = 1", "0 volume groups"),
        ("a {} b {}", "2 volume groups"),
        ("vg { }", "has no id"), ("vg { id = 3 }", "has no id"), ("vg { id = \"g\" }", "has no seqno"),
        ("vg { id = \"g\" seqno = \"1\" }", "seqno is \"1\", expected a number"),
        ("vg { id = \"g\" seqno = 1 extent_size = 0 }", "extent_size is 0, expected a number from 1"),
        ("vg { id = \"g\" seqno = 1 extent_size = 99999999999999999999 }", "extent_size is 99999999999999999999"),
        ("vg { id = \"g\" seqno = 1 extent_size = 9223372036854775807 }", "more than any disk has"),
        ("vg { id = \"g\" seqno = 1 extent_size = 1 physical_volumes { p { } } }", "physical volume p has no id"),
    ])
    func textsThatMakeNoSense(text: String, message: String) throws {
        let layout = try read(HandMade.lvmDisk(text))
        #expect(layout.volumes == [])
        #expect(layout.problems.contains { $0.message.contains(message) }, "\(layout.problems)")
        #expect(layout.problems.first?.offset == 4096 + 512)
    }

    @Test(.timeLimit(.minutes(15))) func aMillionNestedSections() throws {
        let text = String(repeating: "a{", count: 1_000_000)
        #expect(throws: LVMText.SyntaxError.self) { try LVMText.parse([UInt8](text.utf8)) }
        let layout = try read(HandMade.lvmDisk(text, areaSize: 8 << 20))
        #expect(layout.problems.first?.message.contains("nest deeper than 16") == true)
    }

    @Test(.timeLimit(.minutes(15))) func moreValuesThanAnyGroupHas() throws {
        let text = "vg { a = [" + String(repeating: "1,", count: 300_000) + "] }"
        let layout = try read(HandMade.lvmDisk(text, areaSize: 8 << 20))
        #expect(layout.problems.first?.message.contains("more than 262144 values") == true)
        let sections = "vg { " + String(repeating: "a{} ", count: 200_000) + "}"
        #expect(try LVMText.parse([UInt8](sections.utf8)).entries[0].value.section?.entries.count == 200_000)
    }

    @Test(arguments: [
        (HandMade.linear("0", "9223372036854775807", at: "0"), "more than any disk has"),
        (HandMade.linear("0", "99999999999999999999999", at: "0"), "extent_count is 99999999999999999999999"),
        (HandMade.linear("0", "-1", at: "0"), "extent_count is -1"),
        (HandMade.linear("1", "1", at: "0"), "starts at extent 1, expected 0"),
        (HandMade.linear("0", "61", at: "0"), "expected them among its 60"),
        (HandMade.linear("0", "1", at: "9223372036854775807"), "expected them among its 60"),
        (HandMade.linear("0", "1", at: "-1"), "member 0 of stripes is not a volume and an extent"),
        ("start_extent = 0 extent_count = 4 type = \"raid1\"", "0 members of raids"),
        ("start_extent = 0 extent_count = 4 type = \"raid6\"", "segment type raid6 is not mapped"),
        ("start_extent = 0 extent_count = 4 type = \"mirror\" mirrors = [\"bad\", 0]", "without an end"),
        ("start_extent = 0 extent_count = 4 type = \"mirror\" mirrors = [\"good\", 0]", "1048576"),
        ("start_extent = 0 extent_count = 4 type = \"cache\"", "has no origin"),
        ("start_extent = 0 extent_count = 4 type = \"thin\"", "a thin volume"),
        ("start_extent = 0 extent_count = 4", "has no type"),
        ("type = \"striped\"", "has no start_extent"),
        (striped(2, extents: 3, "[\"pv0\", 0, \"pv0\", 30]"), "expected a multiple of 2 stripes"),
        (striped(2, extents: 4, "[\"pv0\", 0, \"pv0\", 1]"), "share extents"),
        (striped(2, extents: 4, "[\"pv0\", 0]"), "1 stripes, expected the"),
        (striped(4_611_686_018_427_387_904, extents: 4, "[\"pv0\", 0]"), "1 stripes, expected the"),
        (striped(2, extents: 4, "[\"pv0\", 0, \"pv0\", 30]", size: "100000"), "expected a divisor of 2097152"),
        (striped(2, extents: 4, "[\"pv0\", 0, \"pv0\", 30]", size: "0"), "stripe_size is 0"),
        (striped(2, extents: 4, "[\"pv0\", 0, \"pv0\", 30]", size: "9223372036854775807"), "more than any disk has"),
        (striped(1, extents: 4, "[\"pv7\", 0]"), "physical volume pv7 is not in the group's list"),
    ])
    func segmentsThatMakeNoSense(segment: String, message: String) throws {
        let good = HandMade.volume("good", HandMade.linear("0", "1", at: "59"))
        let layout = try read(HandMade.lvmDisk(HandMade.group(HandMade.volume("bad", segment) + good)))
        #expect(layout.volumes.map(\.name) == ["vg/good"])
        #expect(layout.degradedVolumes == [])
        #expect(layout.problems.count == 1)
        #expect(layout.problems.first?.message.hasPrefix("vg/bad: ") == true)
        #expect(layout.problems.first?.message.contains(message) == true, "\(layout.problems)")
    }

    /// Each volume is a mirror of thirty of the next: read to the end, the last would be read 30 to the 6th times.
    @Test func volumesThatAreMadeOfEachOtherAreReadABoundedNumberOfTimes() throws {
        let legs = (0..<6).map { number in
            let next = Array(repeating: "\"v\(number + 1)\", 0", count: 30).joined(separator: ", ")
            return HandMade.volume(
                "v\(number)", "start_extent = 0 extent_count = 1 type = \"mirror\" mirrors = [\(next)]")
        }
        let good = HandMade.volume("v6", HandMade.linear("0", "1", at: "0"))
        let start = ContinuousClock.now
        let layout = try read(HandMade.lvmDisk(HandMade.group(legs.joined(separator: " ") + good)))
        #expect(ContinuousClock.now - start < .seconds(60))
        #expect(
            layout.problems.contains { $0.message.contains("without an end") || $0.message.contains("segments on") })
        #expect(layout.volumes.allSatisfy { $0.size == 1 << 20 })
    }

    /// The metadata of mirrors that cannot be mapped, after all the work of trying: each is charged for it.
    @Test(.timeLimit(.minutes(15))) func metadataVolumesThatFailSpendTheBudget() throws {
        // Nine thousand segments, of which the last makes the whole of it nonsense.
        let segments = (0..<9000).map { number in
            "segment\(number) { \(HandMade.linear("\(number)", "1", at: number == 8999 ? "70" : "0")) }"
        }
        var volumes = hidden("big { segment_count = 9000 \(segments.joined(separator: "\n")) }")
        let names = (0..<10).map { "m\($0)" }
        for name in names {
            volumes += hidden(HandMade.volume(name, HandMade.linear("0", "9000", at: "0")))
                .replacing("\"pv0\"", with: "\"big\"")
        }
        volumes += hidden(HandMade.volume("z", HandMade.linear("0", "1", at: "5")))
        let raids = (names + ["z"]).map { "\"\($0)\", \"gone\"" }.joined(separator: ", ")
        volumes += HandMade.volume("mirror", "start_extent = 0 extent_count = 1 type = \"raid1\" raids = [\(raids)]")
        let layout = try read(HandMade.lvmDisk(HandMade.group(volumes), areaSize: 4 << 20))
        #expect(!layout.structures.contains { $0.kind == .lvmSubvolume }, "there was no budget left for the last")
    }

    private func hidden(_ volume: String) -> String { volume.replacing("VISIBLE", with: "WRITE") }

    @Test func extentsPastTheEndOfATruncatedDisk() throws {
        let text = HandMade.group(
            HandMade.volume("root", HandMade.linear("0", "3", at: "0"), HandMade.linear("3", "40", at: "10")))
        let layout = try read(HandMade.lvmDisk(text, size: 32 << 20))
        #expect(layout.volumes == [])
        #expect(layout.degradedVolumes.map(\.size) == [43 << 20])
        #expect(
            layout.problems.map(\.message).contains {
                $0.contains("lie past the end of disk, which has 33554432 bytes")
            })
    }

    @Test func readingWhatADegradedVolumeLacksFails() throws {
        let unknown = "start_extent = 1 extent_count = 1 type = \"raid6\""
        let text = HandMade.group(HandMade.volume("root", HandMade.linear("0", "1", at: "0"), unknown))
        let disk = try HandMade.lvmDisk(text)
        let volume = try #require(try read(disk).degradedVolumes.first)
        let device = VolumeDevice(volume: volume, disk: disk)
        #expect(device.size == 2 << 20)
        #expect(try device.read(ByteRange(offset: (1 << 20) - 2, length: 2)) == [0, 0])
        let error = #expect(throws: StorageError.self) {
            try device.read(ByteRange(offset: (1 << 20) - 2, length: 3))
        }
        #expect(error?.device == "memory: vg/root")
        #expect(throws: StorageError.self) { try device.write([1], at: 1 << 20) }
        #expect(throws: StorageError.self) { try device.read(ByteRange(offset: 2 << 20, length: 1)) }
    }

    @Test func twoVolumesOnTheSameExtents() throws {
        let text = HandMade.group(
            HandMade.volume("a", HandMade.linear("0", "3", at: "0"))
                + HandMade.volume("b", HandMade.linear("0", "3", at: "2"))
                + HandMade.volume("a", HandMade.linear("0", "3", at: "20")))
        let layout = try read(HandMade.lvmDisk(text))
        #expect(layout.volumes.map(\.name) == ["vg/a"])
        #expect(layout.problems.count == 2)
    }

    @Test func hiddenVolumesAndSnapshotsAreNoVolumes() throws {
        let snapshot = "start_extent = 0 extent_count = 2 type = \"snapshot\" origin = \"root\" cow_store = \"snap\""
        let hidden = HandMade.volume("hidden", HandMade.linear("0", "1", at: "9"))
            .replacingOccurrences(of: "VISIBLE", with: "WRITE")
        let text = HandMade.group(
            HandMade.volume("root", HandMade.linear("0", "2", at: "0"))
                + HandMade.volume("snap", HandMade.linear("0", "2", at: "4")) + HandMade.volume("snapshot0", snapshot)
                + hidden)
        let layout = try read(HandMade.lvmDisk(text))
        #expect(layout.volumes.map(\.name) == ["vg/root"])
        #expect(layout.problems.count == 2)
    }

    @Test func aPhysicalVolumeThatIsThereTwice() throws {
        let text = HandMade.group(HandMade.volume("root", HandMade.linear("0", "3", at: "2")))
        let volume = try HandMade.lvmDisk(text).read(ByteRange(offset: 0, length: 8 << 20))
        let disk = MemoryDevice(size: 200 << 20)
        try disk.write(HandMade.bootRecord((0x8e, 2048, 1 << 17), (0x8e, 1 << 18, 1 << 17)), at: 0)
        try disk.write(volume, at: 1 << 20)
        try disk.write(volume, at: 128 << 20)
        let layout = try read(disk)
        #expect(layout.volumes == [Volume(name: "vg/root", range: ByteRange(offset: 4 << 20, length: 3 << 20))])
        #expect(layout.problems.map(\.offset) == [128 << 20])
    }

    @Test func metadataThatIsReadIsBounded() throws {
        let text = HandMade.group(HandMade.volume("root", HandMade.linear("0", "3", at: "2")))
        let padded = text + "\n#" + String(repeating: "x", count: 3 << 20)
        let disk = try HandMade.lvmDisk(padded)
        let areas = [(UInt64, UInt64)](repeating: (4096, UInt64(padded.utf8.count + 513)), count: 12)
        try disk.write(HandMade.label(size: disk.size, metadataAreas: areas), at: 512)
        let layout = try read(disk)
        #expect(layout.volumes.map(\.name) == ["vg/root"])
        #expect(layout.problems.count == 7)
        #expect(layout.problems[0].message == "more than 16777216 bytes of LVM2 metadata; the rest is not read")
    }

    @Test func problemsAreBounded() throws {
        let volumes = (0..<1000).map { HandMade.volume("v\($0)", HandMade.linear("0", "99", at: "0")) }
        let layout = try read(HandMade.lvmDisk(HandMade.group(volumes.joined())))
        #expect(layout.problems.count == 65)
        #expect(layout.problems.last?.message == "936 more problems are not listed")
    }

    /// Each leg costs as a segment does: 90,000 of them come from 1 MiB of text.
    @Test func legsOfMirrorsAreBounded() throws {
        func layout(legs: Int) throws -> DiskLayout {
            let list = repeatElement("\"pv0\", 0", count: legs).joined(separator: ", ")
            let mirror = "start_extent = 0 extent_count = 1 type = \"mirror\" mirrors = [\(list)]"
            let volumes = (0..<3).map { HandMade.volume("v\($0)", mirror) }.joined()
            let last = HandMade.volume("z", HandMade.linear("0", "3", at: "9"))
            return try read(HandMade.lvmDisk(HandMade.group(volumes + last)))
        }
        #expect(try layout(legs: 2).volumes.map(\.name).contains("vg/z"))
        let many = try layout(legs: 30_000)
        #expect(many.problems.contains { $0.message.contains("more than 65536 segments on this disk") })
        #expect(!many.volumes.map(\.name).contains("vg/z"))
    }

    /// A volume of 8 TiB would have 2^34 pieces.
    @Test func stripesOfLessThanAPageAreNotMapped() throws {
        let text = HandMade.group(
            HandMade.volume("tiny", Self.striped(2, extents: 2, "[\"pv0\", 0, \"pv0\", 2]", size: "1"))
                + HandMade.volume("page", Self.striped(2, extents: 2, "[\"pv0\", 4, \"pv0\", 6]", size: "8")))
        let layout = try read(HandMade.lvmDisk(text))
        #expect(layout.volumes.map(\.name) == ["vg/page"])
        #expect(layout.problems.map(\.message).contains { $0.contains("stripes of 512 bytes, expected at least 4096") })
    }

    @Test func physicalVolumesElsewhereThatAreRememberedAreBounded() throws {
        let missing = (0..<4000).map { "m\($0) { id = \"m\($0)\" pe_start = 0 pe_count = 1 }" }.joined(separator: " ")
        let text = HandMade.group(HandMade.volume("root", HandMade.linear("0", "3", at: "2")))
            .replacingOccurrences(of: "physical_volumes {", with: "physical_volumes { \(missing) ")
        let layout = try read(HandMade.lvmDisk(text))
        #expect(layout.volumes.map(\.name) == ["vg/root"])
        #expect(layout.physicalVolumes.missing.count == 1024)
    }

    @Test func namesCannotActOnATerminal() throws {
        let text = HandMade.group(HandMade.volume("\"r\u{1b}[2J\"", HandMade.linear("0", "99", at: "0")))
        let layout = try read(HandMade.lvmDisk(text))
        #expect(layout.problems.first?.message.hasPrefix("vg/r\\x1B[2J: ") == true)
    }

    private static func striped(_ count: Int, extents: Int, _ stripes: String, size: String = "128") -> String {
        """
        start_extent = 0 extent_count = \(extents) type = "striped" stripe_count = \(count) stripe_size = \(size)
        stripes = \(stripes)
        """
    }

    private func read(_ disk: MemoryDevice) throws -> DiskLayout {
        let layout = try DiskLayout.read(from: disk)
        #expect(brokenInvariants(of: layout, diskSize: disk.size) == [])
        return layout
    }
}
