import Glibc
import Synchronization

/// Whether Ctrl-C was pressed: the scan is then ended in good order. A second Ctrl-C ends the process at once.
enum Interruption {
    private static let wasSeen = Atomic<Bool>(false)

    /// Starts to watch.
    static func watch() {
        // Made before the handler can want it.
        _ = wasSeen.load(ordering: .relaxed)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in Interruption.note() }
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
        for signal in [SIGINT, SIGTERM, SIGHUP] { sigaction(signal, &action, nil) }
    }

    private static func note() {
        wasSeen.store(true, ordering: .relaxed)
    }

    /// Whether a signal asked to end.
    static var isRequested: Bool { wasSeen.load(ordering: .relaxed) }
}
