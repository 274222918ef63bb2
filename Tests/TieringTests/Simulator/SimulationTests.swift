import Foundation
import Testing

/// Crash schedules by the thousand. A seed that fails is named and fails again with
///
///     INTROSPECT_SEED=n swift test --filter SimulationTests
///
/// `INTROSPECT_SCHEDULES=100000` runs so many.
struct SimulationTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let first = environment["INTROSPECT_SEED"].flatMap { UInt64($0) }
    private static let count = environment["INTROSPECT_SCHEDULES"].flatMap { UInt64($0) } ?? 1000
    private static let workers = 2

    @Test(arguments: 0..<workers) func nothingAcknowledgedIsLost(worker: Int) {
        let seeds = Self.first.map { $0..<$0 + 1 } ?? 0..<Self.count
        for seed in seeds where seed % UInt64(Self.workers) == UInt64(worker) {
            run(seed)
        }
    }

    @Test(arguments: [UInt64(1), 2, 3]) func aCrashAtEveryAccess(seed: UInt64) {
        guard Self.first == nil else { return }
        for access in 1...120 {
            do {
                try Schedule(seed: seed).run(rounds: 3, steps: 40, crashAt: access)
            } catch {
                Issue.record("seed \(seed), crash at access \(access): \(error)")
                return
            }
        }
    }

    private func run(_ seed: UInt64) {
        do {
            try Schedule(seed: seed).run(rounds: 4, steps: 40)
        } catch {
            Issue.record("seed \(seed): \(error)")
        }
    }
}
