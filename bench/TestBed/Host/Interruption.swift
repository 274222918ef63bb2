import Glibc
import Synchronization

/// What happens on SIGINT and SIGTERM: everything that any ``Bed`` holds is undone, then the process ends.
///
/// The handler only writes to a pipe; a thread of its own does the work, while the interrupted threads find that
/// nothing new can be started and wait for the end.
enum Interruption {
    private struct State {
        var isInstalled = false
        var beds: [ObjectIdentifier: Bed] = [:]
        var foreground: [pid_t: ChildProcess] = [:]
        var cleaner: pthread_t?
        /// Threads that were already undoing something: they finish that.
        var undoing: [pthread_t] = []
    }

    private static let state = Mutex(State())
    /// The signal handler's only way to speak; written once before the handler is installed.
    private static let alarm = Atomic<Int32>(-1)

    /// Whether the process was interrupted and this thread is not one that cleans up.
    static var forbidsWork: Bool {
        state.withLock { state in
            guard let cleaner = state.cleaner else { return false }
            return cleaner != pthread_self() && !state.undoing.contains(pthread_self())
        }
    }

    static func undoBegan() {
        state.withLock { $0.undoing.append(pthread_self()) }
    }

    static func undoEnded() {
        state.withLock { state in
            if let index = state.undoing.lastIndex(of: pthread_self()) { state.undoing.remove(at: index) }
        }
    }

    static func bedWasMade(_ bed: Bed) {
        let isFirst = state.withLock { state in
            state.beds[ObjectIdentifier(bed)] = bed
            defer { state.isInstalled = true }
            return !state.isInstalled
        }
        if isFirst { install() }
    }

    static func bedIsGone(_ bed: Bed) {
        state.withLock { _ = $0.beds.removeValue(forKey: ObjectIdentifier(bed)) }
    }

    static func foregroundBegan(_ process: ChildProcess) {
        state.withLock { state in
            guard !state.undoing.contains(pthread_self()) else { return }
            state.foreground[process.identifier] = process
        }
    }

    static func foregroundEnded(_ process: ChildProcess) {
        state.withLock { _ = $0.foreground.removeValue(forKey: process.identifier) }
    }

    /// Holds the calling thread for ever when the process was interrupted and another thread cleans up.
    static func waitForEndIfInterrupted() {
        while forbidsWork {
            sleep(3600)
        }
    }

    private static func install() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        alarm.store(ends[1], ordering: .releasing)
        let readEnd = ends[0]
        Thread.start {
            var number: UInt8 = 0
            while read(readEnd, &number, 1) != 1 {}
            cleanUp(after: Int32(number))
        }.detach()
        // Whoever reads our output may go first; what we clean up must not depend on it.
        signal(SIGPIPE, SIG_IGN)
        for number in [SIGINT, SIGTERM] {
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                write(Interruption.alarm.load(ordering: .acquiring), &byte, 1)
            }
        }
    }

    private static func cleanUp(after number: Int32) -> Never {
        let (beds, foreground) = state.withLock { state in
            state.cleaner = pthread_self()
            return (state.beds.values.sorted { $0.number > $1.number }, Array(state.foreground.values))
        }
        tell("\nInterrupted: stopping and unmounting everything.")
        for process in foreground {
            process.killGroup()
        }
        for bed in beds {
            bed.tearDown()
        }
        _exit(128 + number)
    }
}
