import Foundation
import Glibc

/// Files and directories that only the server's user can read: the process has no umask, so that clients' modes are
/// what they ask for.
enum PrivateFiles {
    /// Makes a directory, and those above it that are missing; one that is there stays as it is.
    static func makeDirectory(_ path: String) throws {
        guard mkdir(path, 0o700) != 0, errno != EEXIST else { return }
        guard errno == ENOENT, let end = path.lastIndex(of: "/"), end != path.startIndex else { throw failure(path) }
        try makeDirectory(String(path[..<end]))
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failure(path) }
    }

    /// Writes `data` in place of what is at `path`, at once.
    static func write(_ data: Data, to path: String) throws {
        try write(to: path) { try $0.write(data) }
    }

    /// Writes lines in place of what is at `path`, at once: those for which there is room in `limit` bytes.
    static func writeLines(to path: String, limit: Int, _ body: (inout Lines) -> Void) throws {
        try write(to: path) { file in
            var lines = Lines(file: file, room: limit)
            body(&lines)
            lines.flush()
            if let failure = lines.failure { throw failure }
        }
    }

    /// Lines on their way to a file, of which few are in memory.
    struct Lines {
        private static let bufferSize = 64 << 10

        fileprivate let file: Output
        fileprivate var room: Int
        fileprivate var failure: (any Error)?
        private var buffer = Data()

        fileprivate init(file: Output, room: Int) {
            (self.file, self.room) = (file, room)
        }

        /// Adds `line`, which ends in a newline; returns whether there may be others.
        mutating func add(_ line: String) -> Bool {
            guard failure == nil, line.utf8.count <= room else {
                room = 0
                return false
            }
            room -= line.utf8.count
            buffer.append(contentsOf: line.utf8)
            if buffer.count >= Self.bufferSize { flush() }
            return true
        }

        fileprivate mutating func flush() {
            do {
                try file.write(buffer)
            } catch {
                failure = failure ?? error
            }
            buffer.removeAll(keepingCapacity: true)
        }
    }

    /// A file that is being written.
    fileprivate struct Output {
        let descriptor: Int32
        let path: String

        func write(_ data: Data) throws {
            var rest = data[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { throw PrivateFiles.failure(path) }
                rest = rest.dropFirst(count)
            }
        }
    }

    private static func write(to path: String, _ body: (Output) throws -> Void) throws {
        let temporary = path + ".new"
        // Whatever a run that was ended has left, or somebody else has laid there.
        unlink(temporary)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure(temporary) }
        defer { close(file) }
        try body(Output(descriptor: file, path: temporary))
        guard rename(temporary, path) == 0 else { throw failure(path) }
    }

    fileprivate struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    fileprivate static func failure(_ path: String) -> Failure {
        Failure(description: "\(path): \(String(cString: strerror(errno)))")
    }
}
