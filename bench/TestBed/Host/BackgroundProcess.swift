import Glibc

/// A program that runs until it is stopped, its output in a log file.
public final class BackgroundProcess: Sendable {
    /// What it writes to standard output and standard error.
    public let logPath: String
    private let process: ChildProcess
    private let line: String

    /// Starts `words[0]`; the bed stops it.
    public init(_ words: [String], logPath: String, on bed: Bed) throws(TestBedError) {
        let log = open(logPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard log >= 0 else { throw TestBedError.lastSystemError("open \(logPath)") }
        defer { close(log) }
        self.logPath = logPath
        line = words.joined(separator: " ")
        process = try ChildProcess.spawn(words, output: log, errorOutput: log)
        let process = process
        bed.register("stop \(line)") { () throws(TestBedError) in
            _ = Self.stop(process, patience: 10)
        }
    }

    /// The process identifier.
    public var identifier: Int32 { process.identifier }

    /// Whether it has not ended yet.
    public var isRunning: Bool { process.statusIfEnded() == nil }

    /// Everything that it has written.
    public var log: String { (try? readText(of: logPath)) ?? "" }

    /// Sends it a signal.
    public func signal(_ number: Int32) {
        process.signal(number)
    }

    /// Asks it to end with SIGTERM, kills it after `patience` seconds; the exit status as a shell tells it.
    @discardableResult
    public func stop(patience: Double = 30) -> Int32 {
        Self.stop(process, patience: patience)
    }

    /// Waits for it to end by itself; the exit status as a shell tells it, nil when it still runs after `seconds`.
    public func waitForEnd(upTo seconds: Double) -> Int32? {
        process.waitForEnd(seconds: seconds)
    }

    /// Ends it with SIGKILL, as a crash would.
    public func kill() {
        process.killGroup()
        _ = process.waitForEnd()
    }

    /// Waits until `condition` holds; throws, with the log, when the program ends or `seconds` pass before.
    public func wait(
        upTo seconds: Double, for what: String, until condition: () -> Bool
    ) throws(TestBedError) {
        let deadline = monotonicNanoseconds() + Int(seconds * 1e9)
        while !condition() {
            guard !Interruption.forbidsWork else { throw TestBedError("interrupted") }
            guard isRunning else { throw TestBedError("\(line) ended before \(what)\n\(log)") }
            guard monotonicNanoseconds() < deadline else {
                throw TestBedError("\(line): \(what) did not come within \(seconds) s\n\(log)")
            }
            usleep(10000)
        }
    }

    private static func stop(_ process: ChildProcess, patience: Double) -> Int32 {
        process.signal(SIGTERM)
        if let status = process.waitForEnd(seconds: patience) { return status }
        process.killGroup()
        return process.waitForEnd()
    }
}
