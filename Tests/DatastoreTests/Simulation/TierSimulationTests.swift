import BlockStorage
import Foundation
import Testing

/// Schedules of clients, administrators, starts and faults against real datastores, by the thousand. A seed that fails is
/// named; threads do not follow a seed, so that it fails again most of the time only, with
///
///     INTROSPECT_SEED=n swift test --filter TierSimulationTests
///
/// `INTROSPECT_SCHEDULES=10000` runs so many.
struct TierSimulationTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let first = environment["INTROSPECT_SEED"].flatMap { UInt64($0) }
    private static let count = environment["INTROSPECT_SCHEDULES"].flatMap { UInt64($0) } ?? 24
    /// Servers wait most of the time, for their threads to end.
    private static let workers = environment["INTROSPECT_WORKERS"].flatMap { Int($0) } ?? 8

    @Test func noOldByteIsServedInSilence() {
        let seeds = Self.first.map { $0..<$0 + 1 } ?? 0..<Self.count
        let failures = Locked<[String]>([])
        concurrently(threads: Self.workers) { worker in
            for seed in seeds where Int(seed - seeds.lowerBound) % Self.workers == worker {
                do {
                    try TierSchedule(seed: seed).run(lives: 6, steps: 24)
                } catch {
                    try? FileHandle.standardError.write(contentsOf: Data("seed \(seed): \(error)\n".utf8))
                    failures.withLock { $0.append("seed \(seed): \(error)") }
                }
            }
        }
        for failure in failures.withLock({ $0 }) { Issue.record("\(failure)") }
    }
}
