import Logging
import Synchronization

/// Keeps what a server logs, from notices upward.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    /// Called with each line, by whoever logs it.
    let atLine = Mutex<(@Sendable (String) -> Void)?>(nil)

    var logger: Logger { Logger(label: "test") { _ in Handler(log: self) } }

    /// The lines until now.
    var all: [String] { lines.withLock { $0 } }

    func contains(_ words: String) -> Bool { all.contains { $0.contains(words) } }

    private struct Handler: LogHandler {
        let log: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.notice

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let line = "\(event.message)"
            log.lines.withLock { $0.append(line) }
            log.atLine.withLock { $0 }?(line)
        }
    }
}
