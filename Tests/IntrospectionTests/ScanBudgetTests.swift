import BlockStorage
import Foundation
import Glibc
import GuestFilesystems
import TestTools
import Testing

@testable import Introspection

/// What a scan takes on at most, and what is looked up at a time while a map is held.
@Suite struct ScanBudgetTests {
    /// A file system of hundreds of directories, each with a block of its own.
    private func withManyDirectories(_ body: (_ image: FileDevice) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            for number in 0..<600 {
                try FileManager.default.createDirectory(
                    atPath: "\(directory)/tree/d\(number)", withIntermediateDirectories: true)
            }
            let path = "\(directory)/image"
            try runTool(
                "mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-d", "\(directory)/tree", path, "32M"])
            try body(FileDevice(path: path, access: .readOnly, mode: .buffered))
        }
    }

    @Test func noMoreIsReadThanAllowed() throws {
        try withManyDirectories { image in
            var scanner = DiskScanner(reader: DeviceReader(image), name: "disk")
            scanner.options.requestLimit = 4096
            scanner.options.parallelism = 1
            scanner.options.gapTolerance = 0
            let whole = try scanner.scan()
            #expect(whole.problems == [] && !whole.isPartial)
            scanner.options.readLimit = whole.bytesRead / 2
            let part = try scanner.scan()
            #expect(part.isPartial && part.bytesRead < whole.bytesRead * 3 / 4)
            #expect(part.problems.contains { $0.contains("more metadata than the image has bytes on the server") })
        }
    }

    /// By all threads of the scan together.
    @Test func noMoreIsRememberedThanAllowed() throws {
        try withManyDirectories { image in
            var scanner = DiskScanner(reader: DeviceReader(image), name: "disk")
            let whole = try scanner.scan()
            let all = try #require(whole.fileSystems.first).runs.count
            #expect(all > 200)
            scanner.options.parallelism = 16
            scanner.options.runLimit = 64
            let part = try scanner.scan()
            #expect(part.isPartial)
            #expect(try #require(part.fileSystems.first).runs.count <= 64)
            #expect(part.problems.contains { $0.contains("more metadata than 64 runs") })
        }
    }

    /// The flag alone makes a file's contents no metadata: they would be read, all of them.
    @Test func aFlagWithoutItsFeatureMakesNoAttributes() throws {
        try withImage(ImageRecipe(type: "ext4", blockSize: 1024)) { path in
            try runTool("debugfs", ["-w", "-R", "set_inode_field /deep/far flags 0x280000", path])
            let image = try FileDevice(path: path, access: .readOnly, mode: .buffered)
            let scan = try DiskScanner(reader: DeviceReader(image), name: "disk").scan()
            let found = try #require(scan.fileSystems.first)
            #expect(found.runs.allSatisfy { $0.blockClass != .extendedAttribute })
        }
    }

    @Test func problemsOfADiskAreSummedUp() throws {
        let disk = SparseDisk(size: 1 << 20)
        var scan = try DiskScanner(reader: DeviceReader(disk), name: "disk").scan()
        scan.problems = (0..<8192).map { "\($0)" }
        scan.sumUpProblems(100)
        #expect(scan.problems.count == 101 && scan.problems.last == "8092 more problems are not listed")
    }

    /// Neighbours of one class take no room: they are bounded all the same.
    @Test func whatIsLookedUpInOneTurnIsBounded() {
        withUnsafeTemporaryAllocation(of: ClassRun.self, capacity: 4) { buffer in
            var runs = RunCollector(buffer)
            var taken = 0
            do throws(RunCollector.Full) {
                while taken < 1 << 20 {
                    try runs.append(ByteRange(offset: taken * 512, length: 512), .data)
                    taken += 1
                }
            } catch {}
            #expect((1...4096).contains(taken))
            #expect(runs.count == 1)
        }
    }

    /// Many inodes give back their blocks of attributes: what that takes grows with their number, not with its square.
    @Test func attributesAreGivenBackInLinearTime() {
        func time(_ count: Int) -> Duration {
            var map = FileSystemMap(
                blockSize: 4096, allocation: AllocationBits(blockCount: UInt64(count) + 100), fixed: [])
            for inode in 0..<count {
                _ = map.claimAttributes([UInt64(inode) + 50], of: UInt32(inode) + 12) { _ in }
            }
            let start = Self.processorTime
            for inode in 0..<count { _ = map.claimAttributes([], of: UInt32(inode) + 12) { _ in } }
            return Self.processorTime - start
        }
        func least(_ count: Int) -> Duration { (0..<3).map { _ in time(count) }.min() ?? .zero }
        let (few, many) = (least(1500), least(12_000))
        #expect(many < few * 24, "\(few) and \(many)")
    }

    /// What this thread has had of the processors, which others have, too.
    private static var processorTime: Duration {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }
}
