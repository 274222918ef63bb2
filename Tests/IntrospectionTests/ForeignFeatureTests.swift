import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// File systems that this library does not read as a whole are named, and passed over.
@Suite struct ForeignFeatureTests {
    /// Bits of `s_feature_incompat` and of `s_feature_ro_compat` that no kernel knows, with the fields' offsets.
    @Test(arguments: [(96, "FEATURE_I31", true), (100, "FEATURE_R31", false)])
    func anUnknownFeatureMakesTheFileSystemOpaqueOnlyWhereReadersMustKnowIt(
        field: Int, name: String, isOpaque: Bool
    ) throws {
        try withImage(ImageRecipe(type: "ext2", blockSize: 1024)) { image in
            let disk = try DiskBytes(file: image)
            disk.buffer.bytes[1024 + field + 3] |= 0x80
            let introspector = DiskIntrospector(name: image, diskSize: disk.size)
            let report = try introspector.scan(DeviceReader(disk), parallelism: 1)
            guard isOpaque else {
                #expect(report.problems == [])
                #expect(report.status.fileSystems.first?.features.contains(name) == true)
                return
            }
            #expect(
                report.problems == ["\(image): disk: offset 1024: ext4 with features that are not supported: \(name)"])
            #expect(report.status.state == .unrecognised)
            introspector.forEachClass(in: ByteRange(offset: 0, length: disk.size)) { #expect($1 == .unknown) }
            // The guest goes on writing there, and nothing comes of it.
            let bytes = [UInt8](repeating: 0xFF, count: 4096)
            let outcome = bytes.withUnsafeBytes { introspector.recordWrite($0, at: 9 << 20) }
            #expect(outcome == .nothing)
        }
    }

    /// Needs loop devices: mke2fs takes a journal on a block device only.
    @Test func aJournalOnAnotherDeviceIsNamedOnBothSides() throws {
        try withTemporaryDirectory { directory in
            let (journal, image) = ("\(directory)/journal.img", "\(directory)/disk.img")
            let uuid = "7a1e2c34-5b6d-4e8f-9a0b-1c2d3e4f5a6b"
            try makeSparseFile(journal, size: 16 << 20)
            try withLoopDevices(journal, parts: [(0, 16 << 20)]) { devices in
                try runTool("mke2fs", ["-q", "-F", "-O", "journal_dev", "-b", "4096", "-U", uuid, devices[0]])
                try makeTree("\(directory)/tree")
                try runTool(
                    "mke2fs",
                    [
                        "-q", "-F", "-t", "ext4", "-b", "4096", "-J", "device=\(devices[0])", "-d", "\(directory)/tree",
                        image, "64M",
                    ])
            }
            let ofJournal = try DiskScanner(reader: DeviceReader(DiskBytes(file: journal)), name: "journal").scan()
            #expect(ofJournal.fileSystems.isEmpty)
            #expect(ofJournal.problems == ["journal: disk: offset 1024: the journal \(uuid) of another file system"])
            let disk = try DiskBytes(file: image)
            var world = try LiveWorld(disk)
            let scan = try DiskScanner(reader: DeviceReader(disk), name: "disk").scan()
            #expect(scan.problems.count == 1 && scan.problems[0].contains("is on another device (UUID \(uuid))"))
            // What the guest writes in place is all there is to follow.
            var table: ByteRange?
            world.introspector.forEachClass(in: ByteRange(offset: 0, length: disk.size)) {
                if $1 == .inodeTable { table = table ?? $0 }
                #expect($1 != .journal)
            }
            let offset = try #require(table).offset
            world.write(disk.slice(offset, 4096), at: offset)
            #expect(world.outcome == WriteOutcome(needsDigest: true, needsRescan: false, needsReview: true))
            world.digest()
            #expect(try world.differences() == [])
        }
    }
}
