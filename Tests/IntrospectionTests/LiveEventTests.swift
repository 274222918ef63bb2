import BlockStorage
import Foundation
import Synchronization
import TestTools
import Testing

@testable import Introspection

/// What single writes do to the live map.
@Suite struct LiveEventTests {
    private static let recipe = ImageRecipe(type: "ext3", blockSize: 1024)

    /// An image, and the same after `script` of debugfs; `$big` names a file outside to write.
    private func images(after script: String) throws -> (before: DiskBytes, after: DiskBytes) {
        let recipe = Self.recipe
        return try withImage(recipe) { image in
            let before = try DiskBytes(file: image)
            let contents = image + ".contents"
            try Data(repeating: 7, count: 700 * recipe.blockSize).write(to: URL(fileURLWithPath: contents))
            let commands = script.replacingOccurrences(of: "$big", with: contents)
            try Data((commands + "\n").utf8).write(to: URL(fileURLWithPath: image + ".script"))
            try runTool("debugfs", ["-w", "-f", image + ".script", image])
            return (before, try DiskBytes(file: image))
        }
    }

    /// The blocks that differ, by what they are in the second image.
    private func changedBlocks(_ before: DiskBytes, _ after: DiskBytes, blockSize: Int) throws -> [(Int, BlockClass)] {
        let fresh = try LiveWorld(after)
        return stride(from: 0, to: after.size, by: blockSize).compactMap { offset in
            before.equals(after, at: offset, length: blockSize)
                ? nil : (offset, fresh.introspector.blockClass(at: offset))
        }
    }

    @Test(arguments: [true, false])
    func pendingBlocksAreSettledInEitherOrder(dataFirst: Bool) throws {
        let (before, after) = try images(after: "write $big /file\nmkdir /directory")
        let blockSize = Self.recipe.blockSize
        let changed = try changedBlocks(before, after, blockSize: blockSize)
        let isClaimed: (BlockClass) -> Bool = { [.data, .directory, .indirect].contains($0) }
        let claimed = changed.filter { isClaimed($0.1) }
        let claiming = changed.filter { !isClaimed($0.1) }
        #expect(
            claimed.count > 700 && claimed.contains { $0.1 == .indirect } && claimed.contains { $0.1 == .directory })
        var world = try LiveWorld(before)
        for (offset, _) in dataFirst ? claimed : claiming {
            world.write(after.slice(offset, blockSize), at: offset)
        }
        if dataFirst {
            // Some of the directory blocks are the old ones.
            let fresh = claimed.filter { world.introspector.blockClass(at: $0.0) != .directory }
            #expect(fresh.count > 700)
            #expect(fresh.allSatisfy { world.introspector.blockClass(at: $0.0) == .pending })
            #expect(world.introspector.status.pendingBytes == fresh.count * blockSize)
        }
        world.digest()
        for (offset, _) in dataFirst ? claiming : claimed {
            world.write(after.slice(offset, blockSize), at: offset)
        }
        world.digest()
        #expect(try world.differences() == [])
        #expect(changed.allSatisfy { world.introspector.blockClass(at: $0.0) == $0.1 })
        #expect(world.introspector.status.pendingBytes == 0)
    }

    /// The ranges of `blockClass`, sorted.
    private func ranges(of blockClass: BlockClass, in world: LiveWorld) -> [ByteRange] {
        var ranges: [ByteRange] = []
        world.introspector.forEachClass(in: ByteRange(offset: 0, length: world.device.size)) {
            if $1 == blockClass { ranges.append($0) }
        }
        return ranges
    }

    @Test func pendingBlocksAreBounded() throws {
        var world = try withImage(Self.recipe) { try LiveWorld(DiskBytes(file: $0)) }
        // Every other block, so that each takes a run of its own.
        var written = 0
        for range in ranges(of: .free, in: world) {
            for offset in stride(from: range.offset, to: range.end, by: 2048) {
                world.write([1], at: offset)
                written += 1024
            }
        }
        #expect(written / 1024 > FileSystemMap.pendingRunLimit)
        let status = world.introspector.status
        #expect(status.pendingBytes <= FileSystemMap.pendingRunLimit * 1024)
        #expect(status.pendingBytes + status.forgottenPendingBytes == written)
        #expect(world.outcome == .nothing)
    }

    @Test func pendingBlocksAreFreeAgainWhenTheBitmapSaysSoTwice() throws {
        var world = try withImage(Self.recipe) { try LiveWorld(DiskBytes(file: $0)) }
        let free = try #require(ranges(of: .free, in: world).last)
        let bitmap = try #require(ranges(of: .blockBitmap, in: world).last)
        world.write([1], at: free.end - 1)
        for pass in 1...2 {
            #expect(world.introspector.blockClass(at: free.end - 1) == .pending)
            world.write(world.device.slice(bitmap.offset, 1024), at: bitmap.offset)
            let changes = world.digest().changes
            #expect(changes.contains { $0.range.end == free.end && $0.blockClass == .free } == (pass == 2))
        }
        #expect(world.introspector.blockClass(at: free.end - 1) == .free)
    }

    @Test func makingAnotherFileSystemIsNoticed() throws {
        var world = try withImage(Self.recipe) { try LiveWorld(DiskBytes(file: $0)) }
        let other = try withImage(ImageRecipe(type: "ext4", blockSize: 4096)) { try DiskBytes(file: $0) }
        world.write(other.slice(0, 4096), at: 0)
        world.digest()
        #expect(world.outcome.needsRescan)
        #expect(world.introspector.status.state == .stale)
        #expect(world.introspector.status.staleReason?.contains("another file system was made") == true)
        world.write(other.slice(0, other.size), at: 0)
        _ = try world.introspector.scan(world.reader, parallelism: 1)
        #expect(world.introspector.status.state == .current)
        #expect(world.introspector.status.fileSystems.map(\.kind) == ["ext4"])
        #expect(world.introspector.status.staleReason == nil)
        #expect(try world.differences() == [])
    }

    @Test func anEmptyDiskThatIsFilledIsNoticed() throws {
        let image = try withImage(Self.recipe) { try DiskBytes(file: $0) }
        var world = try LiveWorld(DiskBytes(size: image.size))
        #expect(world.introspector.status.state == .unrecognised)
        world.write([UInt8](repeating: 1, count: 4096), at: 2 << 20)
        #expect(world.outcome == .nothing)
        world.write(image.slice(0, image.size), at: 0)
        #expect(world.outcome.needsRescan)
    }

    @Test func countsInTheSuperblockAreNoReasonForARescan() throws {
        var world = try withImage(Self.recipe) { try LiveWorld(DiskBytes(file: $0)) }
        world.write([9, 9, 9, 0], at: 1024 + 12)
        world.write([0], at: 1024 + 58)
        #expect(world.outcome.needsDigest)
        world.digest()
        #expect(!world.outcome.needsRescan && world.introspector.status.state == .current)
        world.write([0, 0, 0, 1], at: 1024 + 40)
        world.digest()
        #expect(world.outcome.needsRescan)
    }

    @Test func moreScatteredWritesThanCanBeNotedAskForARescan() throws {
        let recipe = ImageRecipe(type: "ext2", blockSize: 1024, options: ["-I", "128", "-N", "310000"])
        var world = try withImage(recipe) { try LiveWorld(DiskBytes(file: $0)) }
        let offsets = ranges(of: .inodeTable, in: world).flatMap {
            Array(stride(from: $0.offset, to: $0.end, by: 2048))
        }
        #expect(offsets.count > LiveFileSystem.undigestedRunLimit)
        let fitting = offsets.prefix(LiveFileSystem.undigestedRunLimit)
        for offset in fitting + fitting { world.write(world.device.slice(offset, 1), at: offset) }
        // The same blocks again take no more room.
        #expect(world.introspector.status.undigestedBlocks == fitting.count)
        #expect(world.outcome == WriteOutcome(needsDigest: true, needsRescan: false, needsReview: true))
        world.digest()
        #expect(world.introspector.status.undigestedBlocks == 0 && !world.outcome.needsRescan)

        for offset in offsets { world.write(world.device.slice(offset, 1), at: offset) }
        #expect(world.outcome.needsRescan)
        _ = try world.introspector.scan(world.reader, parallelism: 1)
        #expect(world.introspector.status.state == .current)
    }

    /// Half-way through its making an image is scanned again when the guest writes metadata, not for what a digest finds.
    @Test func whatTheJournalBringsIsReviewedWhenItIsWrittenInPlace() throws {
        let (before, after, table) = try withImage(Self.recipe) { image in
            let before = try DiskBytes(file: image)
            let table = try #require(ranges(of: .inodeTable, in: LiveWorld(before)).first).offset
            try Data(before.slice(table, 1024)).write(to: URL(fileURLWithPath: image + ".block"))
            let script = "jo\njw -b \(table / 1024) \(image).block\njc\n"
            try Data(script.utf8).write(to: URL(fileURLWithPath: image + ".script"))
            try runTool("debugfs", ["-w", "-f", image + ".script", image])
            return (before, try DiskBytes(file: image), table)
        }
        var world = try LiveWorld(before)
        for journal in ranges(of: .journal, in: world) {
            for offset in stride(from: journal.offset, to: journal.end, by: 1024)
            where !before.equals(after, at: offset, length: 1024) {
                world.write(after.slice(offset, 1024), at: offset)
            }
        }
        #expect(world.outcome == WriteOutcome(needsDigest: true, needsRescan: false, needsReview: false))
        world.digest()
        #expect(world.outcome == WriteOutcome(needsDigest: true, needsRescan: false, needsReview: false))
        world.write(after.slice(table, 1024), at: table)
        #expect(world.outcome.needsReview)
    }

    @Test func aFailedReadMakesTheMapStale() throws {
        let (before, after) = try images(after: "mkdir /directory")
        var world = try LiveWorld(before)
        let table = try #require(
            try changedBlocks(before, after, blockSize: 1024).first { $0.1 == .inodeTable })
        world.write(after.slice(table.0, 1024), at: table.0)
        let result = world.introspector.digest(FailingReader(size: before.size))
        #expect(result.needsRescan)
        #expect(world.introspector.status.state == .stale)
        _ = try world.introspector.scan(world.reader, parallelism: 1)
        #expect(world.introspector.status.state == .current)
    }

    @Test func changesNameEveryBlockWhoseClassChanged() throws {
        let (before, after) = try images(
            after: "write $big /file\nrm /deep/dense\nrm /deep/er/long\nmkdir /directory\nrm /deep/far")
        var world = try LiveWorld(before)
        var random = SplitMix64(seed: 5)
        var shadow = [BlockClass](repeating: .unknown, count: before.size / 1024)
        func fill(_ range: ByteRange, _ blockClass: BlockClass) {
            for block in range.offset / 1024..<(range.end + 1023) / 1024 { shadow[block] = blockClass }
        }
        let whole = ByteRange(offset: 0, length: before.size)
        world.introspector.forEachClass(in: whole, fill)
        for (offset, _) in try changedBlocks(before, after, blockSize: 1024).shuffled(using: &random) {
            world.write(after.slice(offset, 1024), at: offset)
            let blockClass = world.introspector.blockClass(at: offset)
            fill(ByteRange(offset: offset, length: 1024), blockClass)
            if Int.random(in: 0..<20, using: &random) == 0 {
                for change in world.digest().changes { fill(change.range, change.blockClass) }
            }
        }
        for change in world.digest().changes { fill(change.range, change.blockClass) }
        var live = [BlockClass](repeating: .unknown, count: before.size / 1024)
        world.introspector.forEachClass(in: whole) { range, blockClass in
            for block in range.offset / 1024..<(range.end + 1023) / 1024 { live[block] = blockClass }
        }
        #expect(shadow == live)
    }
}

/// A reader that reads nothing.
private struct FailingReader: ClassifiedReader {
    let size: Int

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        throw StorageError(.system(EIO), operation: "read", device: "broken", range: range)
    }
}
