import BlockStorage
import Synchronization

/// The threads of scans: one for those that end soon, one for those that did not.
///
/// A scan takes as long as its image's bytes make it take, within what ``ScanOptions`` allows, and others wait for their
/// first one meanwhile. So a scan that others wait for ends after ``fairTime``, and is made anew among the long ones; what
/// it has read is in the cache by then. No image waits longer than that for each of those before it, and two scans at most
/// hold memory at a time, however many images there are.
final class ScanQueue: Sendable {
    /// How long a scan goes on while others wait.
    static let fairTime = Duration.seconds(2)

    private let short: IOPool
    private let long: IOPool
    /// Short scans that have not begun.
    private let waiting = Atomic(0)

    init(niceness: Int32) {
        short = IOPool(name: "scan", threadCount: 1, niceness: niceness)
        long = IOPool(name: "long-scan", threadCount: 1, niceness: niceness)
    }

    /// Has `scan` done when it is its turn.
    ///
    /// - Parameter isLong: whether it took longer than ``fairTime`` the last time.
    func submit(isLong: Bool, _ scan: @escaping @Sendable () -> Void) {
        guard !isLong else { return long.submit(scan) }
        waiting.add(1, ordering: .relaxed)
        short.submit { [self] in
            waiting.subtract(1, ordering: .relaxed)
            scan()
        }
    }

    /// Whether a short scan that began at `start` has others wait for too long.
    func mustMakeRoom(since start: ContinuousClock.Instant) -> Bool {
        waiting.load(ordering: .relaxed) > 0 && .now - start > Self.fairTime
    }

    /// Waits for the scans that were submitted, and ends the threads.
    func shutDown() {
        short.shutDown()
        long.shutDown()
    }
}
