import BlockStorage
import Logging

/// A log that neither clients nor guests can fill: messages are cut off at a length, and each statement of the program
/// gets so many lines at once and then one a second; the next that comes says how many were left out.
struct BoundedLogHandler: LogHandler {
    /// The longest message, in bytes.
    static let longestMessage = 2048

    private var stream: StreamLogHandler
    private let rates: LogRates

    /// Writes to `stream`, and shares `rates` with the handlers of other labels.
    init(_ stream: StreamLogHandler, rates: LogRates) {
        self.stream = stream
        self.rates = rates
    }

    var logLevel: Logger.Level {
        get { stream.logLevel }
        set { stream.logLevel = newValue }
    }

    var metadata: Logger.Metadata {
        get { stream.metadata }
        set { stream.metadata = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { stream[metadataKey: key] }
        set { stream[metadataKey: key] = newValue }
    }

    func log(event: LogEvent) {
        guard let leftOut = rates.admit(LogRates.Place(file: event.file, line: event.line), at: .now) else { return }
        var event = event
        event.message = "\(Self.bounded(event.message.description, leftOut: leftOut))"
        stream.log(event: event)
    }

    /// The message as it is shown, when so many like it were not.
    static func bounded(_ message: String, leftOut: Int) -> String {
        var text = message
        if text.utf8.count > longestMessage {
            text = String(decoding: text.utf8.prefix(longestMessage), as: UTF8.self) + "…"
        }
        return text + (leftOut > 0 ? " (\(leftOut) more like it were left out)" : "")
    }
}

/// How many lines each statement of the program may log.
final class LogRates: Sendable {
    /// A statement.
    struct Place: Hashable {
        let file: String
        let line: UInt
    }

    private struct Rate {
        var left = LogRates.burst
        var time: ContinuousClock.Instant
        var leftOut = 0
    }

    /// Lines at once: a line for each image of a large directory, say.
    static let burst = 100
    /// After that.
    static let interval = Duration.seconds(1)

    private let rates = Locked<[Place: Rate]>([:])

    /// How many lines of `place` were left out since the last, or nil when this one is, too.
    func admit(_ place: Place, at now: ContinuousClock.Instant) -> Int? {
        rates.withLock { rates in
            var rate = rates[place] ?? Rate(time: now)
            defer { rates[place] = rate }
            let earned = Int((now - rate.time) / Self.interval)
            if earned > 0 {
                rate.left = min(Self.burst, rate.left + earned)
                rate.time = rate.left == Self.burst ? now : rate.time + Self.interval * earned
            }
            guard rate.left > 0 else {
                rate.leftOut += 1
                return nil
            }
            rate.left -= 1
            defer { rate.leftOut = 0 }
            return rate.leftOut
        }
    }
}
