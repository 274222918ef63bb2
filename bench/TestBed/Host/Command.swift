import Glibc

/// A program to run, found on the `PATH` or given by its path, in a process group of its own.
///
/// The group keeps Ctrl-C on a terminal away from the program: what was started is stopped by whoever started it,
/// in the right order.
public struct Command: Sendable {
    /// The program and its arguments.
    public var words: [String]
    /// How long it may take, in seconds, before it is killed with all its children.
    public var timeLimit: Double

    /// The program `words[0]` with the arguments that follow.
    public init(_ words: [String], timeLimit: Double = 120) {
        self.words = words
        self.timeLimit = timeLimit
    }

    /// How a program ended and what it said.
    public struct Result: Sendable {
        /// The exit status; 128 and the signal's number for a program that a signal ended.
        public let status: Int32
        /// What it wrote to standard output.
        public let output: String
        /// What it wrote to standard error.
        public let errorOutput: String
    }

    /// Runs the program to its end, whatever its status; throws when it cannot be started or takes too long.
    ///
    /// - Parameter onLine: called with each line of standard output as soon as it is written.
    public func result(onLine: ((String) -> Void)? = nil) throws(TestBedError) -> Result {
        let output = try Pipe()
        let errorOutput = try Pipe()
        let process = try ChildProcess.spawn(words, output: output.writeEnd, errorOutput: errorOutput.writeEnd)
        output.closeWriteEnd()
        errorOutput.closeWriteEnd()
        Interruption.foregroundBegan(process)
        defer { Interruption.foregroundEnded(process) }
        let deadline = monotonicNanoseconds() + Int(timeLimit * 1e9)
        var lines = LineSplitter(onLine: onLine)
        var status: Int32?
        while output.isOpen || errorOutput.isOpen {
            Pipe.wait(for: [output, errorOutput], milliseconds: 50)
            lines.append(output.drain())
            errorOutput.drain()
            status = status ?? process.statusIfEnded()
            // A child of the program may hold the pipes open for ever.
            if status != nil, !Pipe.wait(for: [output, errorOutput], milliseconds: 0) { break }
            if monotonicNanoseconds() > deadline {
                process.killGroup()
                _ = process.waitForEnd()
                throw TestBedError("\(line): not done after \(timeLimit) s\n\(output.text)\(errorOutput.text)")
            }
        }
        lines.finish()
        return Result(status: status ?? process.waitForEnd(), output: output.text, errorOutput: errorOutput.text)
    }

    /// Runs the program and returns its standard output; throws, with what it said, unless it ends with status 0.
    @discardableResult
    public func run() throws(TestBedError) -> String {
        let result = try result()
        guard result.status == 0 else {
            throw TestBedError("\(line): status \(result.status)\n\(result.output)\(result.errorOutput)")
        }
        return result.output
    }

    /// The command as one would type it.
    public var line: String { words.joined(separator: " ") }
}

/// Runs `words` to its end and returns its standard output; throws unless it ends with status 0.
@discardableResult
public func run(_ words: String..., timeLimit: Double = 120) throws(TestBedError) -> String {
    try Command(words, timeLimit: timeLimit).run()
}

/// Cuts what a program writes into lines as it comes.
private struct LineSplitter {
    let onLine: ((String) -> Void)?
    private var rest: [UInt8] = []

    init(onLine: ((String) -> Void)?) {
        self.onLine = onLine
    }

    mutating func append(_ bytes: [UInt8]) {
        guard let onLine else { return }
        rest += bytes
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            onLine(String(decoding: rest[..<end], as: UTF8.self))
            rest.removeSubrange(...end)
        }
    }

    mutating func finish() {
        if let onLine, !rest.isEmpty { onLine(String(decoding: rest, as: UTF8.self)) }
    }
}
