import Synchronization

/// What a scan has done so far; all threads count in it.
final class ScanMeter: Sendable {
    private let bytes = Atomic<Int>(0)
    private let reads = Atomic<Int>(0)
    private let expected = Atomic<Int>(0)

    func countRead(bytes count: Int) {
        bytes.wrappingAdd(count, ordering: .relaxed)
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
