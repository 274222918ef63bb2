import Glibc
import Synchronization

/// Whether Ctrl-C was pressed during a scan, which is then ended in good order. A second Ctrl-C ends the process at once,
/// as the first does outside of scans.
enum Interruption {
    private static let wasSeen = Atomic<Bool>(false)

    /// Runs `body`, which asks ``isRequested`` now and then.
    static func watching<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        // Made before the handler can want it.
        _ = wasSeen.load(ordering: .relaxed)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in Interruption.note() }
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
        let before = signals.map { signal in
            var old = sigaction()
            sigaction(signal, &action, &old)
            return old
        }
        defer { for (signal, var old) in zip(signals, before) { sigaction(signal, &old, nil) } }
        return try body()
    }

    private static let signals = [SIGINT, SIGTERM, SIGHUP]

    private static func note() {
        wasSeen.store(true, ordering: .relaxed)
    }

    /// Whether a signal asked to end.
    static var isRequested: Bool { wasSeen.load(ordering: .relaxed) }
}
