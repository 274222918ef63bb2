import BlockStorage
import Foundation
import Synchronization
import TestTools
import Testing

@testable import Introspection

/// Writes that arrive while a scan reads.
@Suite struct LiveScanTests {
    /// Reads a disk, and calls `beforeRead` with the number of each read.
    private struct WatchedReader: ClassifiedReader {
        let device: DiskBytes
        let beforeRead: @Sendable (Int) -> Void
        let count = Counter()

        var size: Int { device.size }

        func read(
            _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
        ) throws(StorageError) {
            beforeRead(count.next())
            device.read(into: buffer, at: range.offset)
        }
    }

    private final class Counter: Sendable {
        private let value = Atomic<Int>(0)

        func next() -> Int { value.wrappingAdd(1, ordering: .relaxed).oldValue }
    }

    private func stages() throws -> [DiskBytes] {
        try withImage(ImageRecipe(type: "ext3", blockSize: 1024)) { image in
            var stages = [try DiskBytes(file: image)]
            let contents = image + ".contents"
            try Data(repeating: 7, count: 900_000).write(to: URL(fileURLWithPath: contents))
            let scripts = [
                (0..<10).map { "mkdir /d\($0)\nwrite \(contents) /d\($0)/file" }.joined(separator: "\n"),
                (0..<8).map { "rm /d\($0)/file\nrmdir /d\($0)" }.joined(separator: "\n") + "\nrm /deep/sparse",
            ]
            for script in scripts {
                try Data((script + "\n").utf8).write(to: URL(fileURLWithPath: image + ".script"))
                try runTool("debugfs", ["-w", "-f", image + ".script", image])
                stages.append(try DiskBytes(file: image))
            }
            return stages
        }
    }

    /// A write between any two reads of the scan is in the map after the next digest; with and without an old map.
    @Test(arguments: [false, true], [1, 2, 3] as [UInt64])
    func writesDuringAScanAreDigestedAfterIt(hasOldMap: Bool, seed: UInt64) throws {
        let stages = try stages()
        let world = try LiveWorld(stages[0])
        var random = SplitMix64(seed: seed)
        let introspector = hasOldMap ? world.introspector : DiskIntrospector(name: "disk", diskSize: stages[0].size)
        var offsets: [Int] = []
        for stage in 1...2 {
            for offset in stride(from: 0, to: stages[0].size, by: 1024)
            where !stages[stage - 1].equals(stages[stage], at: offset, length: 1024) {
                offsets.append(offset)
            }
        }
        offsets.shuffle(using: &random)
        let left = Mutex(offsets)
        let reader = WatchedReader(device: world.device) { _ in
            // The final content, a few blocks at a time, in any order.
            let now = left.withLock { left in
                defer { left.removeLast(min(60, left.count)) }
                return left.suffix(60)
            }
            for offset in now {
                world.device.write(stages[2].slice(offset, 1024), at: offset)
                _ = introspector.recordWrite(stages[2].slice(offset, 1024), at: offset)
            }
        }
        let report = try introspector.scan(reader, parallelism: 1)
        #expect(report.readCount > 5)
        let written = offsets.count - left.withLock(\.count)
        #expect(written > 200)
        for offset in left.withLock({ $0 }) {
            world.device.write(stages[2].slice(offset, 1024), at: offset)
            _ = introspector.recordWrite(stages[2].slice(offset, 1024), at: offset)
        }
        let result = introspector.digest(DeviceReader(world.device))
        #expect(!result.needsRescan && !result.needsDigest)
        #expect(world.device.equals(stages[2], at: 0, length: stages[2].size))
        #expect(try LiveWorld.differences(of: introspector, from: world.device) == [])
    }

    /// Writes, digests, scans and looks from a thread each: after the last digest nothing is missing.
    @Test func threadsDoNotDisturbEachOther() throws {
        let stages = try stages()
        let world = try LiveWorld(stages[0])
        let (device, introspector) = (world.device, world.introspector)
        let isWriting = Atomic<Bool>(true)
        let threads = IOPool(name: "live", threadCount: 4)
        threads.submit {
            var random = SplitMix64(seed: 4)
            for stage in [1, 2, 1, 0, 2] {
                let target = stages[stage]
                var offsets = stride(from: 0, to: target.size, by: 1024).filter {
                    !device.equals(target, at: $0, length: 1024)
                }
                offsets.shuffle(using: &random)
                for offset in offsets {
                    device.write(target.slice(offset, 1024), at: offset)
                    _ = introspector.recordWrite(target.slice(offset, 1024), at: offset)
                }
            }
            isWriting.store(false, ordering: .releasing)
        }
        threads.submit {
            while isWriting.load(ordering: .acquiring) { _ = introspector.digest(DeviceReader(device)) }
        }
        threads.submit {
            while isWriting.load(ordering: .acquiring) {
                _ = try? introspector.scan(DeviceReader(device), parallelism: 2)
            }
        }
        threads.submit {
            while isWriting.load(ordering: .acquiring) {
                var end = 0
                introspector.forEachClass(in: ByteRange(offset: 0, length: device.size)) { range, _ in
                    #expect(range.offset == end)
                    end = range.end
                }
                #expect(end == device.size)
            }
        }
        threads.shutDown()
        let result = introspector.digest(DeviceReader(device))
        #expect(!result.needsRescan && !result.needsDigest)
        #expect(device.equals(stages[2], at: 0, length: device.size))
        let differences = try LiveWorld.differences(of: introspector, from: device)
        #expect(differences == [])
    }

    @Test func aPartitionTableWrittenDuringAScanKeepsTheMapStale() throws {
        let disk = try partitionedDisk()
        let world = try LiveWorld(disk)
        let introspector = world.introspector
        let reader = WatchedReader(device: world.device) { number in
            if number == 3 { _ = introspector.recordWrite(disk.slice(0, 512), at: 0) }
        }
        _ = try introspector.scan(reader, parallelism: 1)
        #expect(introspector.status.state == .stale)
        #expect(introspector.digest(DeviceReader(world.device)).needsRescan)
        _ = try introspector.scan(DeviceReader(world.device), parallelism: 1)
        #expect(introspector.status.state == .current)
    }

    @Test func aCancelledScanChangesNothing() throws {
        var world = try LiveWorld(stages()[0])
        let before = world.introspector.status.totals
        world.write([1], at: 1024 + 12)
        let report = try world.introspector.scan(world.reader, parallelism: 1, isCancelled: { true })
        #expect(report.wasCancelled)
        #expect(world.introspector.status.totals == before)
        #expect(world.introspector.status.undigestedBlocks == 1)
    }

    /// A file system in a partition that starts where no block of 4 KiB does.
    private func partitionedDisk() throws -> DiskBytes {
        try withImage(ImageRecipe(type: "ext4", blockSize: 4096)) { image in
            let volume = try DiskBytes(file: image)
            let disk = image + ".disk"
            _ = FileManager.default.createFile(atPath: disk, contents: nil)
            try FileHandle(forWritingTo: URL(fileURLWithPath: disk)).truncate(atOffset: UInt64(volume.size + 63 * 512))
            try runTool("sfdisk", ["-q", disk], input: "label: dos\nstart=63, type=83\n")
            let bytes = try DiskBytes(file: disk)
            bytes.write(volume.slice(0, volume.size), at: 63 * 512)
            return bytes
        }
    }

    @Test func partitionsAreFollowedAndTheirTableIsGuarded() throws {
        let disk = try partitionedDisk()
        var world = try LiveWorld(disk)
        #expect(world.introspector.status.fileSystems.map(\.volume) == ["partition 1"])
        #expect(world.introspector.blockClass(at: 0) == .partitionTable)
        #expect(world.introspector.blockClass(at: 63 * 512) == .superblock)
        #expect(try world.differences() == [])
        var inodeTable: ByteRange?
        world.introspector.forEachClass(in: ByteRange(offset: 0, length: disk.size)) {
            if $1 == .inodeTable { inodeTable = inodeTable ?? $0 }
        }
        // Half of one block and half of the next.
        let offset = try #require(inodeTable).offset + 4096 + 2048
        world.write(disk.slice(offset, 4096), at: offset)
        #expect(world.outcome == WriteOutcome(needsDigest: true, needsRescan: false, needsReview: true))
        #expect(world.introspector.status.undigestedBlocks == 2)
        world.digest()
        world.write([0], at: 450)
        #expect(world.outcome.needsRescan)
        #expect(world.introspector.status.staleReason == "a partition table was written")
    }
}
