import Glibc

/// A guest that stays booted and does one step after another, so that a boot serves many measurements.
///
/// Each step is a bash script in a file of its own that the guest finds on its root, this machine's files.
public final class GuestSession {
    private static let readyMark = "@session-ready"
    private static let endMark = "@step-ends "

    private let process: BackgroundProcess
    private let temporary: TemporaryDirectory
    private let name: String
    private var steps = 0
    /// Bytes of the log that earlier steps wrote.
    private var heard = 0

    /// Boots a guest; returns when it waits for its first step.
    public init(_ guest: UserModeLinux, in temporary: TemporaryDirectory, bed: Bed) throws(TestBedError) {
        self.temporary = temporary
        name = temporary.file("session-\(monotonicNanoseconds())")
        process = try guest.start(
            """
            echo '\(Self.readyMark)'
            number=0
            while :; do
                until test -e '\(name)-'$number; do sleep 0.05; done
                status=0
                bash -eu -o pipefail '\(name)-'$number || status=$?
                echo '\(Self.endMark)'$status
                number=$((number + 1))
            done

            """, logPath: "\(name).log", on: bed)
        try process.wait(upTo: 60, for: "booting") { process.log.contains(Self.readyMark) }
        heard = process.log.utf8.count
    }

    /// Runs a script (`set -eu -o pipefail`) and returns the lines that it writes.
    ///
    /// - Parameter onPoll: called every 20 ms while the guest works; what it throws ends the step and the guest.
    /// - Throws: when the script fails, when the guest dies, or when `timeLimit` seconds are over; after the latter two
    ///   the session is of no more use.
    public func perform(
        _ script: String, timeLimit: Double, onPoll: () throws(TestBedError) -> Void = {}
    ) throws(TestBedError) -> [String] {
        let file = "\(name)-\(steps)"
        steps += 1
        try writeText(script, to: "\(file).new")
        guard rename("\(file).new", file) == 0 else { throw TestBedError.lastSystemError("rename \(file).new") }
        defer { unlink(file) }
        let deadline = monotonicNanoseconds() + Int(timeLimit * 1e9)
        while true {
            let text = String(decoding: Array(process.log.utf8).dropFirst(heard), as: UTF8.self)
            if let end = text.range(ofLineWith: Self.endMark) {
                heard += text.utf8.count
                let lines = text[..<end.lowerBound].split(separator: "\n").map(String.init)
                guard text[end] == "\(Self.endMark)0" else {
                    throw TestBedError("a step of the guest's failed\n\(lines.joined(separator: "\n"))")
                }
                return lines
            }
            guard process.isRunning else { throw TestBedError("the guest died\n\(text)") }
            guard monotonicNanoseconds() < deadline else {
                kill()
                throw TestBedError("the guest was not done after \(Int(timeLimit)) s\n\(text)")
            }
            do {
                try onPoll()
            } catch {
                kill()
                throw error
            }
            usleep(20000)
        }
    }

    /// Whether it can take a step.
    public var isRunning: Bool { process.isRunning }

    /// Ends it as a power failure would.
    public func kill() {
        process.kill()
    }
}

extension String {
    /// The whole line that begins with `prefix`, once its newline is there too.
    fileprivate func range(ofLineWith prefix: String) -> Range<Index>? {
        var start = startIndex
        while let end = self[start...].firstIndex(of: "\n") {
            if self[start..<end].hasPrefix(prefix) { return start..<end }
            start = index(after: end)
        }
        return nil
    }
}
