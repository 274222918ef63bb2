import Benchmark
import CAllocations
import HotPaths
import Synchronization
import TestBed

/// The bed and what is measured on it, from the setup of a benchmark to its end.
private let stand = Mutex<(bed: Bed, paths: [HotPath])?>(nil)

/// How often the process asks for memory, in all threads, for a thousand calls or blocks.
private let allocations = BenchmarkMetric.custom("allocations", polarity: .prefersSmaller, useScalingFactor: true)

/// Registers a benchmark for each hot path: its allocations. `introspect-bench` has the times, beside others of the same
/// machine.
let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration.metrics = [allocations]
    Benchmark.defaultConfiguration.scalingFactor = .kilo
    Benchmark.defaultConfiguration.maxDuration = .seconds(2)
    Benchmark.defaultConfiguration.maxIterations = 50
    // A timer or a table that grows may come between.
    Benchmark.defaultConfiguration.thresholds = [allocations: BenchmarkThresholds(absolute: [.p90: 50])]
    Benchmark.setup = {
        let bed = Bed()
        let paths = try await HotPath.all(on: bed)
        stand.withLock { $0 = (bed, paths) }
    }
    Benchmark.teardown = {
        stand.withLock { $0 }?.bed.tearDown()
        stand.withLock { $0 = nil }
    }
    for kind in HotPath.Kind.allCases {
        Benchmark(kind.rawValue) { benchmark in
            guard let path = stand.withLock({ $0 })?.paths.first(where: { $0.kind == kind }) else {
                throw TestBedError("nothing is called \(kind.rawValue)")
            }
            var before: UInt64 = 0
            var after: UInt64 = 0
            let begin = {
                benchmark.startMeasurement()
                before = allocation_count()
            }
            let end = {
                after = allocation_count()
                benchmark.stopMeasurement()
            }
            try path.run(benchmark.scaledIterations.count, begin: begin, end: end)
            benchmark.measurement(allocations, Int(after - before))
        }
    }
}
