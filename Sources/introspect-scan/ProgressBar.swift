import Console
import Glibc
import Introspection
import Synchronization

/// A bar on standard error: only on a terminal, and only when the work takes more than a second.
///
/// It shows how far all images are that are being scanned.
final class ProgressBar: Sendable {
    private struct State {
        var lastDrawn: ContinuousClock.Instant
        var isDrawn = false
        var images: [String: ScanProgress] = [:]
    }

    private static let delay = Duration.seconds(1)
    private static let interval = Duration.milliseconds(100)
    private static let width = 30

    private let isEnabled: Bool
    private let imageCount: Int
    private let start = ContinuousClock.now
    private let state: Mutex<State>

    init(isEnabled: Bool, imageCount: Int = 1) {
        self.imageCount = imageCount
        self.isEnabled = isEnabled && isatty(STDERR_FILENO) == 1
        state = Mutex(State(lastDrawn: start))
    }

    /// Draws how far the scans are, unless it was drawn just now.
    func show(_ progress: ScanProgress, of image: String) {
        guard isEnabled else { return }
        let now = ContinuousClock.now
        state.withLock { state in
            state.images[image] = progress
            guard now - start >= Self.delay, !state.isDrawn || now - state.lastDrawn >= Self.interval else { return }
            state.isDrawn = true
            state.lastDrawn = now
            let read = state.images.values.reduce(0) { $0 + $1.bytesRead }
            let expected = state.images.values.reduce(0) { $0 + $1.bytesExpected }
            let filled = min(Self.width, Int(Double(read) / Double(max(expected, 1)) * Double(Self.width)))
            let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: Self.width - filled)
            let begun = imageCount > 1 ? ", \(state.images.count) of \(imageCount) images begun" : ""
            draw("[\(bar)] \(formatted(bytes: read)) of \(formatted(bytes: expected))\(begun)")
        }
    }

    private func draw(_ text: String) {
        _ = writeAll(Array("\r\u{1B}[K\(text)".utf8), to: STDERR_FILENO)
    }

    /// Takes the bar off the terminal.
    func clear() {
        state.withLock { state in
            guard state.isDrawn else { return }
            state.isDrawn = false
            draw("")
        }
    }
}
