import ArgumentParser
import BlockStorage
import Console
import Foundation
import Glibc

/// Prints lines that may have names of files in them; ends the program when nobody can take them.
func say(_ lines: String...) throws(ExitCode) {
    try write(lines.map { printable($0) + "\n" }.joined())
}

/// Prints rows below a line of headings.
func say(rows: [[String]]) throws(ExitCode) {
    try write(table(rows) + "\n")
}

/// Prints a value as JSON.
func printJSON(_ value: some Encodable, isOneLine: Bool = false) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if !isOneLine { encoder.outputFormatting.insert(.prettyPrinted) }
    try write(String(decoding: try encoder.encode(value), as: UTF8.self) + "\n")
}

/// Writes `text` to standard output as it is; ends the program when that cannot be.
func write(_ text: String) throws(ExitCode) {
    guard !writeAll(Array(text.utf8), to: STDOUT_FILENO) else { return }
    // Under a parent that ignores SIGPIPE: a reader that has seen enough is no error.
    guard errno != EPIPE else { throw .success }
    throw complain("standard output: \(String(cString: strerror(errno)))", .failure)
}

/// Says on standard error what went wrong; returns `status`, to be thrown.
func complain(_ message: String, _ status: ExitCode) -> ExitCode {
    _ = writeAll(Array("introspectctl: \(printable(message))\n".utf8), to: STDERR_FILENO)
    return status
}
