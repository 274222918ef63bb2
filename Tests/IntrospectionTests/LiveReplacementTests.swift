import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// What a guest makes anew is known when it is there, whenever scans looked at it half-way.
@Suite struct LiveReplacementTests {
    /// What a guest makes of a disk, as a shell has it.
    struct Change: CustomTestStringConvertible, Sendable {
        var name: String
        /// What is on the disk before; `$disk` is the disk's path.
        var before: String
        var after: String

        var testDescription: String { name }
    }

    private static let label = "sfdisk -q --wipe always --wipe-partitions never $disk"
    private static let ext4 = "mke2fs -q -F -t ext4 -b 2048 -d $tree $disk"

    static let changes = [
        Change(
            name: "a file system becomes a GPT with another", before: ext4,
            after: #"printf 'label: gpt\nstart=2048,size=16384\nstart=20480,size=8192\n' | "# + label
                + "; mke2fs -q -F -t ext3 -b 4096 -d $tree -E offset=1048576 $disk 8192k"),
        Change(
            name: "an empty disk gets a GPT", before: ":",
            after: #"printf 'label: gpt\nstart=2048,size=16384\n' | "# + label
                + "; mke2fs -q -F -t ext4 -b 1024 -d $tree -E offset=1048576 $disk 8192k"),
        Change(
            name: "a file system becomes one in a logical partition", before: ext4,
            after:
                #"printf 'label: dos\nstart=2048,size=2048\nstart=6144,size=26624,type=5\nstart=8192,size=16384\nstart=26624,size=2048\n' | "#
                + label + "; mke2fs -q -F -t ext3 -b 4096 -d $tree -E offset=4194304 $disk 8192k"),
        Change(name: "mke2fs with a journal", before: ":", after: "mke2fs -q -F -t ext3 -b 1024 $disk"),
        Change(
            name: "mke2fs over an older one", before: ext4, after: "mke2fs -q -F -t ext3 -b 4096 -d $tree $disk"),
        Change(
            name: "mke2fs over an older one, other groups", before: ext4,
            after: "mke2fs -q -F -t ext4 -b 1024 -g 1024 $disk"),
        Change(
            name: "mke2fs over an older one, same blocks", before: ext4,
            after: "mke2fs -q -F -t ext4 -b 2048 -O ^has_journal $disk"),
        Change(
            name: "mke2fs over an older one, alike", before: "mke2fs -q -F -t ext4 -b 1024 -O ^flex_bg -d $tree $disk",
            after: "mke2fs -q -F -t ext4 -b 1024 -O ^flex_bg $disk"),
        Change(name: "a journal is added", before: "mke2fs -q -F -t ext2 $disk", after: "tune2fs -j $disk"),
    ]

    enum Order: CaseIterable, Sendable {
        case ascending, descending, shuffled
    }

    /// Between any two writes there may be a digest, and a scan where one is asked for. In the end the map is as a fresh
    /// scan has it, and so is what the last scan found wrong.
    @Test(arguments: changes, Order.allCases) func theMapComesRight(change: Change, order: Order) throws {
        let (before, after) = try disks(change)
        for (seed, unit) in [(1, 4096), (2, 512), (3, 1024), (4, 4096), (5, 1024), (6, 1024)] {
            var random = SplitMix64(seed: UInt64(seed))
            var session = try Session(before)
            var offsets = stride(from: 0, to: before.size, by: unit).filter {
                !before.equals(after, at: $0, length: unit)
            }
            switch order {
            case .ascending: break
            case .descending: offsets.reverse()
            case .shuffled: offsets.shuffle(using: &random)
            }
            // Some scans in the middle, wherever they are asked for.
            let pace = max(1, offsets.count / 12)
            for offset in offsets {
                session.world.write(after.slice(offset, unit), at: offset)
                if Int.random(in: 0..<4, using: &random) == 0 { session.world.digest() }
                if Int.random(in: 0..<pace, using: &random) == 0 { try session.scanIfDue() }
            }
            try session.comeRight()
            let told: Comment = "seed \(seed), unit \(unit), \(session.scanCount) scans"
            #expect(try session.world.differences() == [], told)
            let fresh = try Session(after)
            #expect(session.lastReport.problems == fresh.lastReport.problems, told)
            let (status, expected) = (session.world.introspector.status, fresh.world.introspector.status)
            #expect(status.followedJournals == expected.followedJournals, told)
            #expect(status.fileSystems.map(\.kind) == expected.fileSystems.map(\.kind), told)
        }
    }

    /// What stays damaged: only a write that may mend it asks for another scan, and asks once.
    @Test func onlyMetadataIsWrittenToMendWhatIsDamaged() throws {
        var change = Self.changes[3]
        change.after += "; debugfs -w -R 'set_super_value journal_inum 5' $disk; debugfs -w -R 'write $tree/1 f' $disk"
        let disk = try disks(change).after
        var session = try Session(disk)
        #expect(session.lastReport.problems.count == 1)
        session.world.outcome = .nothing
        var places: [BlockClass: Int] = [:]
        session.world.introspector.forEachClass(in: ByteRange(offset: 0, length: disk.size)) {
            places[$1] = places[$1] ?? $0.offset
        }
        for blockClass in [BlockClass.data, .free] {
            let offset = try #require(places[blockClass])
            session.world.write(disk.slice(offset, 1024), at: offset)
        }
        #expect(!session.world.digest().needsReview)
        #expect(session.world.outcome == .nothing)
        let table = try #require(places[.inodeTable])
        let outcomes = (0..<2).map { _ in session.world.introspector.recordWrite(disk.slice(table, 1024), at: table) }
        #expect(outcomes.map(\.needsReview) == [true, false])
        #expect(outcomes.allSatisfy { !$0.needsRescan })
        #expect(session.world.digest().needsReview)
        #expect(session.world.introspector.status.state == .current)
        try session.scanIfDue()
        #expect(!session.world.digest().needsReview)
    }

    private func disks(_ change: Change) throws -> (before: DiskBytes, after: DiskBytes) {
        try withTemporaryDirectory { directory in
            try makeSmallTree(directory + "/tree")
            try Data(repeating: 7, count: 4096).write(to: URL(fileURLWithPath: directory + "/tree/1"))
            func run(_ script: String) throws -> DiskBytes {
                let names = "disk=\(directory)/disk tree=\(directory)/tree"
                try runTool("sh", ["-e", "-c", "\(names); truncate -s 16M $disk; \(script)"])
                return try DiskBytes(file: directory + "/disk")
            }
            return (try run(change.before), try run(change.after))
        }
    }

    /// Directories of several blocks, and files with indirect blocks.
    private func makeSmallTree(_ path: String) throws {
        for directory in 0..<20 {
            let parent = "\(path)/directory \(directory)"
            try FileManager.default.createDirectory(atPath: parent, withIntermediateDirectories: true)
            for file in 0..<20 {
                let size = file == 0 ? 80_000 : 100
                let name = "\(parent)/a file with a name long enough to need blocks \(file)"
                try Data(repeating: 7, count: size).write(to: URL(fileURLWithPath: name))
            }
        }
    }
}

/// An introspector, and scans when it asks for them.
private struct Session {
    var world: LiveWorld
    var lastReport: ScanReport
    var scanCount = 0

    init(_ bytes: DiskBytes) throws {
        world = try LiveWorld(bytes)
        lastReport = try world.introspector.scan(world.reader, parallelism: 1)
        world.digest()
    }

    private var isScanDue: Bool { world.outcome.needsRescan || world.outcome.needsReview }

    mutating func scanIfDue() throws {
        guard isScanDue else { return }
        world.outcome = .nothing
        lastReport = try world.introspector.scan(world.reader, parallelism: 1)
        scanCount += 1
    }

    /// Digests and scans until nothing is due.
    mutating func comeRight() throws {
        world.digest()
        for _ in 0..<5 where isScanDue {
            try scanIfDue()
            world.digest()
        }
    }
}
