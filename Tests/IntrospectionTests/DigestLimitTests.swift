import BlockStorage
import Foundation
import TestTools
import Testing

@testable import GuestFilesystems
@testable import Introspection

/// How much digests add to a map, whatever guests write.
@Suite struct DigestLimitTests {
    private static let recipe = ImageRecipe(type: "ext3", blockSize: 1024)

    private func scan(_ bytes: DiskBytes) throws -> DiskScan {
        try DiskScanner(reader: DeviceReader(bytes), name: "disk").scan()
    }

    /// A world whose map may come to have `room` more runs, and what it has now.
    private func crowdedWorld(room: Int) throws -> (world: LiveWorld, runs: Int) {
        let world = try LiveWorld(try withImage(Self.recipe) { try DiskBytes(file: $0) })
        let count = world.introspector.state.withLock { $0.fileSystems[0].map.dynamic.count }
        world.introspector.state.withLock { $0.runLimit = count + room }
        return (world, count)
    }

    private func runs(_ world: LiveWorld) -> Int {
        world.introspector.state.withLock { $0.fileSystems[0].map.dynamic.count }
    }

    private func inode(pointers: [Int: UInt32] = [:], attributes: UInt32 = 0) -> [UInt8] {
        var inode = [UInt8](repeating: 0, count: 128)
        inode.store(UInt16(0x81A4), at: 0)
        inode.store(UInt16(1), at: 26)
        inode.store(UInt32(200_000), at: 28)
        inode.store(attributes, at: 104)
        for (index, block) in pointers { inode.store(block, at: 40 + index * 4) }
        return inode
    }

    /// Blocks of pointers to blocks that lie apart.
    @Test(arguments: [(100, true), (2000, false)]) func inodesOfManyRuns(room: Int, isTooMuch: Bool) throws {
        let crowded = try crowdedWorld(room: room)
        var world = crowded.world
        let fileSystem = world.introspector.state.withLock { $0.fileSystems[0] }
        let (table, size) = (
            try #require(fileSystem.descriptors.last).inodeTable, fileSystem.geometry.superblock.inodeSize
        )
        let free = try #require(
            (8192..<40_000).first { start in
                (start..<start + 4000).allSatisfy { !fileSystem.map.allocation.isAllocated(UInt64($0)) }
            })
        for number in 0..<6 {
            let node = free + 600 * number
            let pointers = (1...256).map { UInt32(node + 2 * $0).littleEndian }
            pointers.withUnsafeBytes { world.write($0, at: node * 1024) }
            world.write(inode(pointers: [13: UInt32(node)]), at: Int(table) * 1024 + number * size)
        }
        #expect(world.digest().needsRescan == isTooMuch)
        let added = runs(world) - crowded.runs
        // What is over the limit is what is added while the map is held.
        #expect(isTooMuch ? added <= 100 + 512 : added == 6 * 257)
    }

    /// Inodes that have one run each.
    @Test(arguments: [false, true]) func manyInodesOfOneRun(areAttributes: Bool) throws {
        let crowded = try crowdedWorld(room: 10)
        var world = crowded.world
        let fileSystem = world.introspector.state.withLock { $0.fileSystems[0] }
        let table = try #require(fileSystem.descriptors.last).inodeTable
        let size = fileSystem.geometry.superblock.inodeSize
        for number in 0..<200 {
            let block = UInt32(20_000 + 2 * number)
            world.write(
                areAttributes ? inode(attributes: block) : inode(pointers: [12: block]),
                at: Int(table) * 1024 + number * size)
        }
        #expect(world.digest().needsRescan)
        #expect(runs(world) <= crowded.runs + 10 + 1024 / size)
    }

    @Test func aWalkEndsAtItsLimit() throws {
        let bytes = try withImage(Self.recipe) { try DiskBytes(file: $0) }
        let found = try #require(try scan(bytes).fileSystems.first)
        let run = try #require(found.runs.first { $0.blockClass == .indirect && $0.level == 2 })
        let group = try #require(found.geometry.group(ofInode: run.owner))
        let place = try #require(found.geometry.location(ofInode: run.owner, in: found.descriptors[group]))
        let inode = try ExtInode(parsing: bytes.slice(Int(place.block) * 1024 + place.offset, 128).bytes)
        var walk = ExtInodeWalk(
            geometry: found.geometry, reader: VolumeReader(volume: found.volume, disk: DeviceReader(bytes)))
        let all = try walk.metadataRuns(of: inode, number: run.owner).count
        walk.runLimit = all
        #expect(try walk.metadataRuns(of: inode, number: run.owner).count == all)
        walk.runLimit = all - 1
        let error = #expect(throws: StorageError.self) { try walk.metadataRuns(of: inode, number: run.owner) }
        #expect(error?.code == .damaged)
    }
}
