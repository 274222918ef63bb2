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
        let temporary = path + ".new"
        // Whatever a run that was ended has left, or somebody else has laid there.
        unlink(temporary)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure(temporary) }
        defer { close(file) }
        var rest = data[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure(temporary) }
            rest = rest.dropFirst(count)
        }
        guard rename(temporary, path) == 0 else { throw failure(path) }
    }

    private struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private static func failure(_ path: String) -> Failure {
        Failure(description: "\(path): \(String(cString: strerror(errno)))")
    }
}
