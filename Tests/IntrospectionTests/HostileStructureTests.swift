import BlockStorage
import Foundation
import Synchronization
import TestTools
import Testing

@testable import Introspection

/// What hostile structures cost whoever looks at a disk meanwhile, and in memory: `INTROSPECT_HOSTILE` says how many.
@Suite struct HostileStructureTests {
    /// What a map may take of an image of a few MiB.
    private static let largestMap = 256 << 20

    /// What the environment says, or else `usual`.
    private static func setting(_ name: String, usual: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? usual
    }

    @Test func noStructureHoldsTheMapOrTakesMuchMemory() throws {
        let count = Self.setting("INTROSPECT_HOSTILE", usual: 24)
        let first = UInt64(Self.setting("INTROSPECT_HOSTILE_SEED", usual: 1))
        // Other tests have the processors, too; by itself it is 200.
        let longestWait = Duration.milliseconds(Self.setting("INTROSPECT_HOSTILE_WAIT", usual: 2000))
        let templates = try HostileDisk.Template.all()
        var worst = (seed: first, wait: Duration.zero, digest: Duration.zero)
        for seed in first..<first + UInt64(count) {
            var hostile = HostileDisk(seed: seed, templates)
            #expect(hostile.disk.storedBytes <= 8 << 20, "seed \(seed)")
            let wait = try run(&hostile, seed: seed, &worst.digest)
            if wait > worst.wait { (worst.seed, worst.wait) = (seed, wait) }
            #expect(wait < longestWait, "seed \(seed)")
        }
        print(
            "hostile structures: the longest wait for a map was \(worst.wait), with seed \(worst.seed); the longest digest"
                + " took \(worst.digest)")
    }

    /// What says how a disk is divided counts as a part of the map: a MiB of metadata names 60,000 places.
    @Test func legsOfMirrorsCountAsMemory() throws {
        let disk = HostileImage.mirrors.files[0].disk
        let introspector = DiskIntrospector(name: "hostile", diskSize: disk.size)
        let options = ScanOptions(storedBytes: disk.storedBytes)
        _ = try introspector.scan(DeviceReader(disk), parallelism: 1, options: options)
        #expect(introspector.mapMemoryBytes > 60_000 * 128)
    }

    /// Scans, writes and digests, while somebody asks for a class all the time; returns the longest wait for that.
    private func run(
        _ hostile: inout HostileDisk, seed: UInt64, _ longestDigest: inout Duration
    ) throws -> Duration {
        let disk = hostile.disk
        let introspector = DiskIntrospector(name: "hostile", diskSize: disk.size)
        let watcher = Watcher(introspector)
        watcher.start()
        defer { _ = watcher.stop() }
        let start = ContinuousClock.now
        let reader = DeviceReader(disk)
        let options = ScanOptions(storedBytes: disk.storedBytes)
        let report = try introspector.scan(reader, parallelism: 2, options: options)
        #expect(report.problems.count <= 2 * options.problemLimit + 1, "seed \(seed)")
        for round in 0..<12 {
            guard let write = hostile.nextWrite() else { break }
            _ = write.bytes.withUnsafeBytes { introspector.recordWrite($0, at: write.offset) }
            if round % 3 == 2 { longestDigest = max(longestDigest, digest(introspector, reader, seed: seed)) }
        }
        let status = introspector.status
        #expect(status.mapMemoryBytes < Self.largestMap, "seed \(seed)")
        #expect(status.totals.entries.reduce(0) { $0 + $1.bytes } == disk.size, "seed \(seed)")
        checkTotals(of: introspector, seed: seed)
        _ = try introspector.scan(reader, parallelism: 2, options: options)
        #expect(ContinuousClock.now - start < .seconds(120), "seed \(seed)")
        return watcher.stop()
    }

    /// What is counted is what a look at each block says, where that comes to an end.
    private func checkTotals(of introspector: DiskIntrospector, seed: UInt64) {
        var totals = ClassTotals()
        let disk = ByteRange(offset: 0, length: introspector.diskSize)
        guard introspector.forEachClass(in: disk, turns: 1 << 12, { totals[$1] += $0.length }) == disk.end else {
            return
        }
        #expect(totals == introspector.status.totals, "seed \(seed)")
    }

    /// Digests until nothing is left; returns how long that took at most at a time, which other images wait for.
    private func digest(_ introspector: DiskIntrospector, _ reader: DeviceReader, seed: UInt64) -> Duration {
        var longest = Duration.zero
        for _ in 0..<64 {
            var needsDigest = false
            let duration = ContinuousClock().measure { needsDigest = introspector.digest(reader).needsDigest }
            longest = max(longest, duration)
            if !needsDigest { return longest }
        }
        Issue.record("seed \(seed): the digest does not come to an end")
        return longest
    }
}

/// Asks for classes without a pause, and notes how long it has to wait at most.
private final class Watcher: Sendable {
    private let introspector: DiskIntrospector
    private let isStopped = Atomic(false)
    private let longest = Mutex(Duration.zero)
    private let pool = IOPool(name: "watcher", threadCount: 1)

    init(_ introspector: DiskIntrospector) {
        self.introspector = introspector
    }

    func start() {
        pool.submit { [self] in
            var random = SplitMix64(seed: 1)
            while !isStopped.load(ordering: .relaxed) {
                let offset = Int.random(in: 0..<introspector.diskSize, using: &random)
                let wait = ContinuousClock().measure { _ = introspector.blockClass(at: offset) }
                longest.withLock { $0 = max($0, wait) }
                usleep(500)
            }
        }
    }

    func stop() -> Duration {
        isStopped.store(true, ordering: .relaxed)
        pool.shutDown()
        return longest.withLock { $0 }
    }
}
