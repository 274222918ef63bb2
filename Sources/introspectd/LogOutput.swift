import BlockStorage
import Console
import Glibc

/// Standard error for the log: what is written at once is one line there, whatever is in it. Clients and guests choose the
/// names of files and volumes, and none begins a line of its own or steers the terminal that shows it.
struct LogOutput: TextOutputStream {
    mutating func write(_ event: String) {
        let line = event.hasSuffix("\n") ? event.dropLast() : event[...]
        _ = writeAll(Array("\(printable(String(line)))\n".utf8), to: STDERR_FILENO)
    }
}
