import ArgumentParser
import BlockStorage
import Console
import FoundationEssentials
import Glibc

/// Prints a line about what went wrong.
func complain(_ message: String) {
    _ = writeAll(Array("introspect-scan: \(printable(message))\n".utf8), to: STDERR_FILENO)
}

/// Prints the problems that were found; returns whether there were any.
func complain(about problems: [String]) -> Bool {
    problems.forEach(complain)
    return !problems.isEmpty
}

/// Prints text and the end of its line; ends the command when nobody can take it.
func printLine(_ text: String) throws(ExitCode) {
    try printAll(Array("\(text)\n".utf8))
}

/// Prints a value as JSON.
func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try printLine(String(decoding: try encoder.encode(value), as: UTF8.self))
}

/// Writes bytes to standard output; ends the command when it cannot take them.
func printAll(_ bytes: [UInt8]) throws(ExitCode) {
    guard writeAll(bytes, to: STDOUT_FILENO) else { throw cannotWrite("standard output") }
}

/// Collects output so that a line does not cost a system call.
struct OutputBuffer {
    private static let limit = 1 << 16
    private var bytes: [UInt8] = []
    private var failure: Int32?

    /// Writes what there is, now and then; after a failure, nothing.
    mutating func append(_ piece: String) {
        guard failure == nil else { return }
        bytes += piece.utf8
        if bytes.count >= Self.limit { write() }
    }

    /// Writes the rest; ends the command when something could not be written.
    mutating func flush() throws(ExitCode) {
        write()
        guard let failure else { return }
        errno = failure
        throw cannotWrite("standard output")
    }

    private mutating func write() {
        if failure == nil, !writeAll(bytes, to: STDOUT_FILENO) { failure = errno }
        bytes.removeAll(keepingCapacity: true)
    }
}

/// Makes a file of `bytes`, at one stroke and durably. Ends the command when it cannot.
func save(_ bytes: [UInt8], to path: String) throws(ExitCode) {
    do throws(SavedFile.Failure) {
        try SavedFile.save(bytes, to: path)
    } catch {
        errno = error.errorNumber
        throw cannotWrite(path)
    }
}

private func cannotWrite(_ what: String) -> ExitCode {
    // Under a parent that ignores SIGPIPE: a reader that has seen enough is no error.
    guard errno != EPIPE else { return .success }
    complain("\(what): \(String(cString: strerror(errno)))")
    return ExitStatus.unreadable
}
