import BlockStorage
import DiskImages
import Foundation
import GuestFilesystems
import Synchronization
import TestTools
import Testing

@testable import Introspection

/// A guest that writes nonsense costs a bounded amount of reading, and no more than a rescan.
@Suite struct LiveHostileTests {
    private struct CountingReader: ClassifiedReader {
        let device: DiskBytes
        let bytesRead = Total()

        final class Total: Sendable {
            let value = Atomic<Int>(0)
        }

        var size: Int { device.size }

        func read(
            _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
        ) throws(StorageError) {
            bytesRead.value.wrappingAdd(range.length, ordering: .relaxed)
            device.read(into: buffer, at: range.offset)
        }
    }

    private static let recipes = [
        ImageRecipe(type: "ext3", blockSize: 1024), ImageRecipe(type: "ext4", blockSize: 1024),
        ImageRecipe(type: "ext4", blockSize: 4096),
    ]

    private func ranges(of blockClass: BlockClass, in world: LiveWorld) -> [ByteRange] {
        var ranges: [ByteRange] = []
        world.introspector.forEachClass(in: ByteRange(offset: 0, length: world.device.size)) {
            if $1 == blockClass { ranges.append($0) }
        }
        return ranges
    }

    @Test(arguments: recipes, [1, 2, 3] as [UInt64])
    func noiseInAnyMetadata(_ recipe: ImageRecipe, seed: UInt64) throws {
        var world = try withImage(recipe) { try LiveWorld(DiskBytes(file: $0)) }
        var random = SplitMix64(seed: seed)
        let kinds: [BlockClass] = [.inodeTable, .indirect, .blockBitmap, .directory, .groupDescriptor, .superblock]
        for _ in 0..<15 {
            for kind in kinds.shuffled(using: &random) {
                guard let range = ranges(of: kind, in: world).randomElement(using: &random) else { continue }
                let length = min(range.length, Int.random(in: 1...40_000, using: &random))
                let offset = range.offset + Int.random(in: 0...range.length - length, using: &random)
                // Bits at random, or only some of them, which leaves more that makes sense.
                let mask = seed == 2 ? UInt8.random(in: 0...255, using: &random) : 255
                let noise = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) & mask }
                world.write(noise, at: offset)
            }
            let reader = CountingReader(device: world.device)
            let result = world.introspector.digest(reader)
            #expect(reader.bytesRead.value.load(ordering: .relaxed) < 200 << 20)
            #expect(result.changes.allSatisfy { $0.range.end <= world.device.size })
        }
        _ = try world.introspector.scan(world.reader, parallelism: 2)
        world.digest()
    }

    /// Inodes whose triple indirect blocks lead to all blocks of the disk, or back to themselves.
    @Test func inodesThatLeadEverywhere() throws {
        var world = try withImage(ImageRecipe(type: "ext3", blockSize: 1024)) { try LiveWorld(DiskBytes(file: $0)) }
        let tables = ranges(of: .inodeTable, in: world)
        let free = ranges(of: .free, in: world)
        let area = try #require(free.max { $0.length < $1.length })
        // Every block of the area points at blocks of the area, at random.
        var random = SplitMix64(seed: 1)
        let blocks = UInt32(area.offset / 1024)..<UInt32(area.end / 1024)
        let pointers = (0..<area.length / 4).map { _ in UInt32.random(in: blocks, using: &random).littleEndian }
        pointers.withUnsafeBytes { world.write(UnsafeRawBufferPointer($0), at: area.offset) }
        var inode = [UInt8](repeating: 0, count: 128)
        inode.store(UInt16(0x81A4), at: 0)
        inode.store(UInt16(1), at: 26)
        inode.store(UInt32(200_000), at: 28)
        for index in 12...14 { inode.store(blocks.lowerBound + UInt32(index), at: 40 + index * 4) }
        let last = try #require(tables.last)
        for offset in stride(from: last.offset, to: last.end, by: 256) {
            inode.store(UInt32.random(in: blocks, using: &random), at: 40 + 14 * 4)
            world.write(inode, at: offset)
        }
        let reader = CountingReader(device: world.device)
        let start = ContinuousClock.now
        let result = world.introspector.digest(reader)
        #expect(result.needsRescan)
        #expect(reader.bytesRead.value.load(ordering: .relaxed) < 128 << 20)
        #expect(ContinuousClock.now - start < .seconds(60))
        #expect(world.introspector.status.mapMemoryBytes < 16 << 20)
    }

    /// An extent of the journal's inode that lies at the last logical block, and beyond.
    @Test func aJournalInodeWhoseLastExtentPassesTheLargestFile() throws {
        var bytes = try withImage(ImageRecipe(type: "ext4", blockSize: 1024)) { try DiskBytes(file: $0) }
        let found = try #require(
            try DiskScanner(reader: DeviceReader(bytes), name: "disk").scan().fileSystems.first)
        let place = try #require(found.geometry.location(ofInode: ExtInode.Number.journal, in: found.descriptors[0]))
        let map = Int(place.block) * 1024 + place.offset + 40
        let free = try #require(
            ranges(of: .free, in: try LiveWorld(bytes)).first { $0.length >= 4096 }.map { $0.offset / 1024 + 1 })
        bytes = DiskBytes(copying: bytes)
        func store(_ value: some FixedWidthInteger, at offset: Int) {
            withUnsafeBytes(of: value.littleEndian) { bytes.write($0, at: offset) }
        }
        let count = Int(bytes.slice(map + 2, 1)[0])
        #expect(count < 4 && bytes.slice(map + 6, 1)[0] == 0, "the journal's tree has room in its root")
        let entry = map + 12 * (count + 1)
        store(UInt16(count + 1), at: map + 2)
        store(UInt32.max, at: entry)
        store(UInt16(2), at: entry + 4)
        store(UInt16(0), at: entry + 6)
        store(UInt32(free), at: entry + 8)
        var world = try LiveWorld(bytes)
        #expect(world.introspector.blockClass(at: (free + 1) * 1024) == .journal)
        for block in [free, free + 1] {
            world.write([UInt8](repeating: 1, count: 1024), at: block * 1024)
        }
        world.digest()
        #expect(world.introspector.status.followedJournals == 1)
    }

    @Test func whatWasWrittenAtTheEndOfTheLargestDisk() {
        for size in [Int.max, Int.max - 511, 1 << 62, DiskImage.largestSize, 4096, 1] {
            var granules = WriteGranules(diskSize: size)
            let last = ByteRange(offset: size - 1, length: 1)
            granules.insert(last)
            var ranges: [ByteRange] = []
            granules.forEachRange { ranges.append($0) }
            #expect(ranges.count == 1 && ranges[0].contains(last) && ranges[0].end <= size, "\(size)")
        }
    }
}
