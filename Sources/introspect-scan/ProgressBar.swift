import Glibc
import Introspection
import Synchronization

/// A bar on standard error: only on a terminal, and only when the work takes more than a second.
final class ProgressBar: Sendable {
    private struct State {
        var lastDrawn: ContinuousClock.Instant
        var isDrawn = false
    }

    private static let delay = Duration.seconds(1)
    private static let interval = Duration.milliseconds(100)
    private static let width = 30

    private let isEnabled: Bool
    private let start = ContinuousClock.now
    private let state: Mutex<State>

    init(isEnabled: Bool) {
        self.isEnabled = isEnabled && isatty(STDERR_FILENO) == 1
        state = Mutex(State(lastDrawn: start))
    }

    /// Draws how far the scan is, unless it was drawn just now.
    func show(_ progress: ScanProgress) {
        guard isEnabled else { return }
        let now = ContinuousClock.now
        guard now - start >= Self.delay else { return }
        state.withLock { state in
            guard !state.isDrawn || now - state.lastDrawn >= Self.interval else { return }
            state.isDrawn = true
            state.lastDrawn = now
            let fraction = Double(progress.bytesRead) / Double(max(progress.bytesExpected, 1))
            let filled = min(Self.width, Int(fraction * Double(Self.width)))
            let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: Self.width - filled)
            let amount = "\(formatted(bytes: progress.bytesRead)) of \(formatted(bytes: progress.bytesExpected))"
            writeAll("\r\u{1B}[K[\(bar)] \(amount)", to: STDERR_FILENO)
        }
    }

    /// Takes the bar off the terminal.
    func clear() {
        state.withLock { state in
            guard state.isDrawn else { return }
            state.isDrawn = false
            writeAll("\r\u{1B}[K", to: STDERR_FILENO)
        }
    }
}
