import BlockStorage
import Foundation
import TestTools
import Testing

@testable import GuestFilesystems
@testable import Introspection

/// How much is read and remembered of journals, whatever a disk says of them.
@Suite struct JournalLimitTests {
    private func scan(_ bytes: DiskBytes) throws -> DiskScan {
        try DiskScanner(reader: DeviceReader(bytes), name: "disk").scan()
    }

    /// Two file systems with a journal of 1,024 blocks each.
    private func twoJournals() throws -> DiskBytes {
        try withTemporaryDirectory { directory in
            let (image, disk) = ("\(directory)/image", "\(directory)/disk")
            try runTool("mke2fs", ["-q", "-F", "-t", "ext3", "-b", "1024", "-J", "size=1", image, "4M"])
            try makeSparseFile(disk, size: 12 << 20)
            try runTool(
                "sfdisk", ["-q", disk],
                input: "label: dos\nstart=2048, size=8192, type=83\nstart=10240, size=8192, type=83\n")
            let (bytes, volume) = (try DiskBytes(file: disk), try DiskBytes(file: image))
            for offset in [1 << 20, 5 << 20] { bytes.write(volume.slice(0, volume.size), at: offset) }
            return bytes
        }
    }

    @Test func journalsOfADiskAreFollowedUpToALimitTogether() throws {
        let bytes = try twoJournals()
        #expect(try scan(bytes).fileSystems.map { $0.journal != nil } == [true, true])
        var scanner = DiskScanner(reader: DeviceReader(bytes), name: "disk")
        scanner.options.journalLimit = 2047
        let scan = try scanner.scan()
        #expect(scan.fileSystems.map { $0.journal != nil } == [true, false])
        #expect(
            scan.problems == [
                "disk: partition 2: the journal has 1024 blocks, expected at most 1023 more in journals of this disk: it is"
                    + " not followed"
            ])
    }

    /// A file system of 64 MiB with a journal, its inode's place, and a free block.
    private struct JournalImage {
        let bytes: DiskBytes
        let found: ScannedFileSystem
        let map: Int
        let free: Int

        init() throws {
            bytes = try withImage(ImageRecipe(type: "ext4", blockSize: 1024, options: ["-O", "^metadata_csum"])) {
                try DiskBytes(file: $0)
            }
            let found = try #require(
                try DiskScanner(reader: DeviceReader(bytes), name: "disk").scan().fileSystems.first)
            self.found = found
            let place = try #require(
                found.geometry.location(ofInode: ExtInode.Number.journal, in: found.descriptors[0]))
            map = Int(place.block) * 1024 + place.offset + 40
            free = try #require((8192..<60_000).first { !found.allocation.isAllocated(UInt64($0)) })
            #expect(bytes.slice(map + 6, 1)[0] == 0, "the journal's extents are in its inode")
        }

        func store(_ value: some FixedWidthInteger, at offset: Int) {
            withUnsafeBytes(of: value.littleEndian) { bytes.write($0, at: offset) }
        }

        /// What the probe says with this much to spare.
        func probe(_ meter: ScanMeter, _ options: ScanOptions = ScanOptions()) -> (ScannedJournal?, [String]) {
            let environment = ExtScan.Environment(
                reader: VolumeReader(volume: found.volume, disk: DeviceReader(bytes)), workers: ScanWorkers(count: 1),
                meter: meter, options: options, goOn: { true })
            var problems: [String] = []
            let journal = JournalProbe(
                geometry: found.geometry, descriptors: found.descriptors, environment: environment
            ).journal(&problems)
            return (journal, problems)
        }
    }

    @Test func noJournalIsLongerThanItsFileSystem() throws {
        let image = try JournalImage()
        let superblock = try #require(image.found.journal?.log.block(at: 0))
        let length = UInt32(image.found.geometry.endBlock) + 1
        // One more extent gives the last block of it a place.
        let count = Int(image.bytes.slice(image.map + 2, 1)[0])
        let entry = image.map + 12 * (count + 1)
        image.store(UInt16(count + 1), at: image.map + 2)
        image.store(length - 2, at: entry)
        image.store(UInt16(2), at: entry + 4)
        image.store(UInt16(0), at: entry + 6)
        image.store(UInt32(image.free), at: entry + 8)
        image.store((length - 1).byteSwapped, at: Int(superblock) * 1024 + 16)
        #expect(image.probe(ScanMeter()).0?.superblock.length == length - 1)
        image.store(length.byteSwapped, at: Int(superblock) * 1024 + 16)
        let (journal, problems) = image.probe(ScanMeter())
        #expect(journal == nil && problems.first?.contains("unlike its inode") == true)
    }

    @Test func aJournalIsCharged() throws {
        let image = try JournalImage()
        let count = Int(image.bytes.slice(image.map + 2, 1)[0])
        var options = ScanOptions()
        options.runLimit = count
        let meter = ScanMeter()
        #expect(image.probe(meter, options).0 != nil)
        // Table, and the superblock of the journal.
        #expect(meter.readCount == 2 && meter.bytesRead == 2048)
        let (journal, problems) = image.probe(meter, options)
        #expect(journal == nil && problems.first?.contains("too many places") == true)
    }

    /// Four nodes, which are one, again and again.
    @Test func aJournalsTreeIsReadAsFarAsTheScanMayRead() throws {
        let image = try JournalImage()
        image.bytes.write(image.bytes.slice(image.map, 60), at: image.free * 1024)
        image.store(UInt16(84), at: image.free * 1024 + 4)
        image.store(UInt16(4), at: image.map + 2)
        image.store(UInt16(1), at: image.map + 6)
        for index in 1...4 {
            image.store(UInt32(0), at: image.map + 12 * index)
            image.store(UInt32(image.free), at: image.map + 12 * index + 4)
            image.store(UInt32(0), at: image.map + 12 * index + 8)
        }
        let unlimited = ScanMeter()
        #expect(image.probe(unlimited).0 != nil && unlimited.readCount == 6)
        let meter = ScanMeter(readLimit: 2 * ScanMeter.leastCharge)
        #expect(image.probe(meter).0 == nil && meter.readCount == 2)
    }
}
