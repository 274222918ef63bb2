import BlockStorage
import Foundation
import GuestFilesystems
import TestTools
import Testing

@testable import Introspection

/// A small file system in memory, for tests that damage it.
private struct SmallImage {
    let device: MemoryDevice
    let found: ScannedFileSystem

    /// - Parameter type: the kind of file system, and what mke2fs is told besides.
    init(type: String, options: [String] = []) throws {
        let bytes = try withTemporaryDirectory { directory in
            try FileManager.default.createDirectory(
                atPath: directory + "/tree/sub/sub", withIntermediateDirectories: true)
            for number in 0..<60 {
                let name = "\(directory)/tree/sub/a rather long name of a file \(number)"
                try Data(repeating: 1, count: number * 700).write(to: URL(fileURLWithPath: name))
            }
            // Every second block, so that extents and pointers need blocks of their own.
            let path = directory + "/tree/sub/sparse"
            try Data().write(to: URL(fileURLWithPath: path))
            let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            for block in stride(from: 0, to: 800, by: 2) {
                try handle.seek(toOffset: UInt64(block * 1024))
                try handle.write(contentsOf: Data(repeating: 2, count: 1024))
            }
            try handle.close()
            try runTool(
                "mke2fs",
                ["-q", "-F", "-t", type, "-b", "1024", "-g", "1024", "-N", "256", "-J", "size=1", "-d"]
                    + [directory + "/tree"] + options + [directory + "/image", "6M"])
            return [UInt8](try Data(contentsOf: URL(fileURLWithPath: directory + "/image")))
        }
        device = MemoryDevice(size: bytes.count)
        try device.write(bytes, at: 0)
        found = try #require(try DiskScanner(reader: DeviceReader(device), name: "disk").scan().fileSystems.first)
    }

    func scan() throws -> DiskScan {
        try DiskScanner(reader: DeviceReader(device), name: "disk").scan()
    }

    /// Where an inode is, in bytes.
    func place(of inode: UInt32) throws -> Int {
        let group = try #require(found.geometry.group(ofInode: inode))
        let place = try #require(found.geometry.location(ofInode: inode, in: found.descriptors[group]))
        return Int(place.block) * 1024 + place.offset
    }

    func patch(_ offset: Int, _ value: some FixedWidthInteger) throws {
        var bytes = [UInt8](repeating: 0, count: value.bitWidth / 8)
        bytes.store(value, at: 0)
        try device.write(bytes, at: offset)
    }

    /// The inode that owns a block of a class and level.
    func run(_ blockClass: BlockClass, level: UInt8, ownerAbove least: UInt32 = 10) throws -> MetadataRun {
        try #require(found.runs.first { $0.blockClass == blockClass && $0.level == level && $0.owner > least })
    }
}

/// Reads that end in any order, and some that fail.
private struct UnevenReader: ClassifiedReader {
    let device: MemoryDevice
    let broken: Set<Int>

    var size: Int { device.size }

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        if blockClass == .inodeTable { usleep(.random(in: 0..<500)) }
        if broken.contains(range.offset) {
            throw StorageError(.system(EIO), operation: "read", device: "disk", range: range)
        }
        try device.read(into: buffer, at: range.offset)
    }
}

@Suite struct HostileImageTests {
    /// Whoever compares two scans is told that something has changed, and by what is logged again, where it has.
    @Test(arguments: ["ext3", "ext4"]) func problemsDoNotDependOnWhichThreadComesFirst(type: String) throws {
        let image = try SmallImage(type: type, options: ["-O", "^metadata_csum"])
        for inode in stride(from: UInt32(18), to: 60, by: 4) {
            try image.patch(image.place(of: inode) + 40, UInt32.max)
        }
        // The tables of the last inodes.
        let broken = try Set([62, 66].map { try image.place(of: $0) & ~1023 })
        var scanner = DiskScanner(reader: UnevenReader(device: image.device, broken: broken), name: "disk")
        scanner.options.requestLimit = 1024
        scanner.options.gapTolerance = 0
        scanner.options.parallelism = 1
        let expected = try scanner.scan().problems
        #expect(expected.contains { $0.contains(type == "ext3" ? "pointers outside" : "bad extent nodes") })
        #expect(expected.contains { $0.contains("reads failed; the first") })
        scanner.options.parallelism = 8
        let found = try (0..<20).map { _ in try scanner.scan().problems }
        #expect(Set(found) == [expected])
    }

    @Test func anIndirectBlockThatPointsAtItselfIsReadOnce() throws {
        let image = try SmallImage(type: "ext3")
        let run = try image.run(.indirect, level: 2)
        for index in 0..<256 {
            try image.patch(Int(run.block) * 1024 + 4 * index, UInt32(run.block))
        }
        // The triple indirect pointer leads to the same block.
        try image.patch(image.place(of: run.owner) + 40 + 4 * 14, UInt32(run.block))
        let scan = try image.scan()
        #expect(scan.fileSystems[0].runs.filter { $0.block <= run.block && run.block < $0.end }.count == 1)
        #expect(scan.problems.contains { $0.contains("claimed twice") })
        #expect(scan.bytesRead <= image.device.size)
    }

    @Test func anInodeThatPointsAtItsOwnTableIsNotFollowed() throws {
        let image = try SmallImage(type: "ext3")
        let run = try image.run(.indirect, level: 1)
        let place = try image.place(of: run.owner)
        for index in 0..<15 { try image.patch(place + 40 + 4 * index, UInt32(place / 1024)) }
        let scan = try image.scan()
        #expect(scan.problems.contains { $0.contains("claimed twice") })
        let fixed = scan.fileSystems[0].geometry.fixedRuns(scan.fileSystems[0].descriptors).runs
        #expect(fixed.contains { $0.blockClass == .inodeTable && $0.block <= place / 1024 && place / 1024 < $0.end })
        #expect(!scan.fileSystems[0].runs.contains { $0.block <= place / 1024 && place / 1024 < $0.end })
    }

    @Test(arguments: [UInt16(0), 1, 4, 5])
    func anExtentNodeThatPointsAtItselfIsReadOnce(depth: UInt16) throws {
        let image = try SmallImage(type: "ext4")
        let run = try #require(image.found.roots.first { $0.blockClass == .indirect && $0.owner > 10 })
        let root = try image.place(of: run.owner) + 40
        // The root claims a deep tree whose only node is its own child.
        try image.patch(root + 6, depth + 1)
        let block = Int(run.block) * 1024
        try image.patch(block, ExtExtentNode.magic)
        try image.patch(block + 2, UInt16(2))
        try image.patch(block + 4, UInt16(84))
        try image.patch(block + 6, depth)
        for entry in [12, 24] {
            try image.patch(block + entry + 4, UInt32(run.block))
            try image.patch(block + entry + 8, UInt32(0))
        }
        let scan = try image.scan()
        #expect(scan.bytesRead <= image.device.size)
        if depth >= 5 { #expect(scan.problems.contains { $0.contains("eh_depth") }) }
        if (1..<5).contains(depth) { #expect(scan.problems.contains { $0.contains("claimed twice") }) }
    }

    @Test func aDirectoryWithARecordOfNoLengthEndsThePathOnly() throws {
        let image = try SmallImage(type: "ext4")
        let run = try #require(image.found.runs.first { $0.blockClass == .directory && $0.owner > 11 })
        for offset in stride(from: 0, to: Int(run.count) * 1024, by: 1024) {
            try image.patch(Int(run.block) * 1024 + offset + 4, UInt16(0))
        }
        let index = try ObjectIndex(reader: DeviceReader(image.device), name: "disk")
        let data = try image.run(.indirect, level: 1)
        let explanation = index.explain(offset: Int(data.block) * 1024)
        #expect(explanation.inode == UInt64(data.owner))
        #expect(explanation.path == nil)
    }

    @Test func descriptorsThatPointOutsideAreReportedAndTheOthersRead() throws {
        let image = try SmallImage(type: "ext3")
        // Group 1's block bitmap, inode bitmap and inode table.
        for field in [0, 4, 8] { try image.patch(2048 + 32 + field, UInt32(0xFFFF_FFF0)) }
        let scan = try image.scan()
        for what in ["block bitmap", "inode bitmap", "inode table"] {
            #expect(scan.problems.contains { $0.contains("group 1: \(what) at block 4294967280") })
        }
        #expect(scan.fileSystems[0].runs.contains { $0.owner == 2 })
    }

    @Test func groupsThatShareAnInodeTableAreReadOnce() throws {
        let image = try SmallImage(type: "ext3")
        let table = UInt32(image.found.descriptors[0].inodeTable)
        for group in 1..<image.found.geometry.groupCount { try image.patch(2048 + 32 * group + 8, table) }
        let scan = try image.scan()
        #expect(scan.problems.contains { $0.contains("its inodes are where another group's are") })
        #expect(scan.bytesRead <= image.device.size)
    }

    /// A superblock that speaks of 2^32 groups, and of a disk that would be large enough.
    @Test func moreGroupsThanAnyFileSystemHas() throws {
        let image = try SmallImage(type: "ext4", options: ["-O", "64bit"])
        try image.patch(1024 + 32, UInt32(8))
        try image.patch(1024 + 40, UInt32(1))
        try image.patch(1024 + 4, UInt32(0xFFFF_FFF8))
        try image.patch(1024 + 336, UInt32(7))
        try image.patch(1024, UInt32(0xFFFF_FFFF))
        let scan = try image.scan()
        #expect(scan.fileSystems.isEmpty)
        #expect(scan.problems.count == 1)
        #expect(scan.bytesRead == 0)
    }

    @Test(arguments: ["ext2", "ext3", "ext4"])
    func damagedMetadataNeverStopsAScan(type: String) throws {
        let image = try SmallImage(type: type)
        var places = image.found.geometry.fixedRuns(image.found.descriptors).adding(image.found.runs)
            .filter { $0.blockClass != .journal }
        // The superblock and the descriptors decide about everything, so that they get more than their share.
        places += [MetadataRun](repeating: places[0], count: 4) + [MetadataRun](repeating: places[1], count: 4)
        let rounds = Int(ProcessInfo.processInfo.environment["INTROSPECT_MUTATIONS"] ?? "") ?? 150
        var random = SplitMix64(seed: 42)
        for round in 0..<rounds {
            var undo: [(offset: Int, bytes: [UInt8])] = []
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let run = places[Int.random(in: 0..<places.count, using: &random)]
                let count = Int(run.count) * 1024
                let length = [1, 1, 2, 4, 4, 8, 32].randomElement(using: &random) ?? 1
                let offset =
                    Int(run.block) * 1024 + Int.random(in: 0..<count - length, using: &random) / length * length
                undo.append((offset, try image.device.read(ByteRange(offset: offset, length: length))))
                try image.device.write(mutation(of: length, image, &random), at: offset)
            }
            let start = ContinuousClock.now
            var scanner = DiskScanner(reader: DeviceReader(image.device), name: "disk")
            scanner.options.parallelism = 1
            let scan = try scanner.scan()
            #expect(scan.bytesRead <= 2 * image.device.size, "round \(round)")
            #expect(scan.problems.count <= scanner.options.problemLimit + 2, "round \(round)")
            let index = try ObjectIndex(reader: DeviceReader(image.device), name: "disk")
            var end = 0
            index.forEachRun(in: ByteRange(offset: 0, length: image.device.size)) { run in
                #expect(run.range.offset == end && run.range.length > 0, "round \(round)")
                end = run.range.end
            }
            #expect(end == image.device.size, "round \(round)")
            _ = index.explain(offset: Int.random(in: 0..<image.device.size, using: &random))
            #expect(ContinuousClock.now - start < .seconds(10), "round \(round)")
            for change in undo.reversed() { try image.device.write(change.bytes, at: change.offset) }
        }
    }

    /// Bytes that are random, or a number that is likely to matter: a block of the image, an edge of a range.
    private func mutation(of length: Int, _ image: SmallImage, _ random: inout SplitMix64) -> [UInt8] {
        var bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
        guard length == 2 || length == 4, Bool.random(using: &random) else { return bytes }
        let blocks = UInt32(image.device.size / 1024)
        let value = [0, 1, 2, blocks - 1, blocks, .max, .max - 1, .random(in: 0..<blocks, using: &random)]
            .randomElement(using: &random)
        for index in 0..<length { bytes[index] = UInt8(truncatingIfNeeded: (value ?? 0) >> UInt32(8 * index)) }
        return bytes
    }
}
