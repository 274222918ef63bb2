import Synchronization

/// What a scan has done so far, and whether it may go on; all threads count in it.
final class ScanMeter: Sendable {
    /// What a read counts as at least: an image that names very many places costs as much time as one with much in a few.
    static let leastCharge = 8192

    private let bytes = Atomic<Int>(0)
    private let charged = Atomic<Int>(0)
    private let reads = Atomic<Int>(0)
    private let expected = Atomic<Int>(0)
    private let runs = Atomic<Int>(0)
    private let readLimit: Int

    init(readLimit: Int = .max) {
        self.readLimit = readLimit
    }

    /// Whether as much was read as may be.
    var isExhausted: Bool { charged.load(ordering: .relaxed) >= readLimit }

    /// Takes note of a run that is remembered; returns whether there is room for it under `limit`.
    func addRun(limit: Int) -> Bool {
        guard runs.wrappingAdd(1, ordering: .relaxed).newValue > limit else { return true }
        runs.wrappingSubtract(1, ordering: .relaxed)
        return false
    }

    /// Takes note that `count` runs are remembered no more.
    func removeRuns(_ count: Int) {
        runs.wrappingSubtract(count, ordering: .relaxed)
    }

    func countRead(bytes count: Int) {
        bytes.wrappingAdd(count, ordering: .relaxed)
        charged.wrappingAdd(max(count, Self.leastCharge), ordering: .relaxed)
        reads.wrappingAdd(1, ordering: .relaxed)
    }

    func expect(bytes count: Int) {
        expected.wrappingAdd(count, ordering: .relaxed)
    }

    var bytesRead: Int { bytes.load(ordering: .relaxed) }
    var readCount: Int { reads.load(ordering: .relaxed) }

    var progress: ScanProgress {
        let bytesRead = bytesRead
        return ScanProgress(bytesRead: bytesRead, bytesExpected: max(bytesRead, expected.load(ordering: .relaxed)))
    }
}
