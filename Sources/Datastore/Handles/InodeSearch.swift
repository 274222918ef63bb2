import BlockStorage
import Glibc

/// Walks through an export for files whose place is not known: one walk at a time for all that are sought, on a thread
/// of its own.
///
/// A walk may take minutes. One caller at a time waits a moment for it; all others, and that one then, are told to ask
/// again, so that no walk keeps the threads from other calls. Walks take at most half of the time: handles of removed
/// files cannot keep the disk busy.
final class InodeSearch: Sendable {
    /// Looks for files; ends early when `isStopped` says so.
    typealias Walk = @Sendable (_ sought: Set<InodeIdentity>, _ isStopped: () -> Bool) -> Void

    private struct State {
        var sought: Set<InodeIdentity> = []
        var isWalking = false
        var hasWaiter = false
        var isStopped = false
        /// The walks' thread, from the first of them on.
        var pool: IOPool?
    }

    /// The most files that are sought at a time; more have to be asked for again.
    private static let capacity = 10_000

    private let patience: Duration
    private let monitor = Monitor(.branch)
    nonisolated(unsafe) private var state = State()

    init(patience: Duration) {
        self.patience = patience
    }

    /// Has a walk look for `identity`, and waits for it unless another caller does, or it takes too long.
    func wait(for identity: InodeIdentity, _ walk: @escaping Walk) {
        let deadline = Self.time(after: patience)
        monitor.withLock {
            guard !state.isStopped, state.sought.count < Self.capacity else { return }
            state.sought.insert(identity)
            start(walk)
            guard !state.hasWaiter else { return }
            state.hasWaiter = true
            while state.sought.contains(identity), !state.isStopped, Self.isBefore(deadline) {
                monitor.wait(until: deadline)
            }
            state.hasWaiter = false
        }
    }

    /// Ends the walk that is under way, and waits for its end.
    func stop() {
        let pool = monitor.withLock {
            state.isStopped = true
            monitor.broadcast()
            return state.pool
        }
        pool?.shutDown()
    }

    /// To be called with the lock held.
    private func start(_ walk: @escaping Walk) {
        guard !state.isWalking else { return }
        state.isWalking = true
        let pool = state.pool ?? IOPool(name: "inode-search", threadCount: 1)
        state.pool = pool
        pool.submit { [self] in
            while let sought = nextSought() {
                let start = ContinuousClock.now
                walk(sought) { isStopped }
                let pause = Self.time(after: start.duration(to: .now))
                monitor.withLock {
                    state.sought.subtract(sought)
                    monitor.broadcast()
                    while !state.isStopped, Self.isBefore(pause) { monitor.wait(until: pause) }
                }
            }
        }
    }

    /// What the next walk looks for; nil when it is not needed.
    private func nextSought() -> Set<InodeIdentity>? {
        monitor.withLock {
            guard !state.isStopped, !state.sought.isEmpty else {
                state.isWalking = false
                return nil
            }
            return state.sought
        }
    }

    private var isStopped: Bool { monitor.withLock { state.isStopped } }

    private static func time(after duration: Duration) -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let (seconds, attoseconds) = duration.components
        let nanoseconds = time.tv_nsec + Int(attoseconds / 1_000_000_000)
        return timespec(
            tv_sec: time.tv_sec + Int(seconds) + nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000)
    }

    private static func isBefore(_ deadline: timespec) -> Bool {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return (now.tv_sec, now.tv_nsec) < (deadline.tv_sec, deadline.tv_nsec)
    }
}
