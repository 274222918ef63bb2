import Glibc

/// Files that are made at one stroke and durably: there is never half of one, and one that was there stays until then.
public enum SavedFile {
    /// Why a file cannot be saved.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        /// The file.
        public let path: String
        /// The value of `errno` that says why.
        public let errorNumber: Int32

        /// One line that names the file and the cause.
        public var description: String { "\(path): \(String(cString: strerror(errorNumber)))" }
    }

    /// How often another name is tried for the file that is written first.
    private static let attempts = 100

    /// Makes the file `path` of `bytes`. What is there and no regular file, such as /dev/stdout, is written to as it is.
    ///
    /// - Parameter mode: the permissions of a new file, less the process's mask.
    public static func save(_ bytes: [UInt8], to path: String, mode: mode_t = 0o666) throws(Failure) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG else {
            return try replace(path, with: bytes, mode)
        }
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path) }
        defer { close(descriptor) }
        guard writeAll(bytes, to: descriptor) else { throw failure(path) }
    }

    private static func replace(_ path: String, with bytes: [UInt8], _ mode: mode_t) throws(Failure) {
        let (descriptor, scratch) = try makeScratch(for: path, mode)
        var isThere = true
        defer { if isThere { unlink(scratch) } }
        let isWritten = writeAll(bytes, to: descriptor) && fsync(descriptor) == 0
        let error = errno
        close(descriptor)
        guard isWritten else { throw Failure(path: path, errorNumber: error) }
        guard rename(scratch, path) == 0 else { throw failure(path) }
        isThere = false
        try flushDirectory(of: path)
    }

    /// A new file beside `path`, of a name that nobody can foresee or lay there before.
    private static func makeScratch(for path: String, _ mode: mode_t) throws(Failure) -> (Int32, String) {
        for _ in 0..<attempts {
            let scratch = directory(of: path) + ".\(String(UInt64.random(in: 0 ... .max), radix: 36)).new"
            let descriptor = open(scratch, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)
            if descriptor >= 0 { return (descriptor, scratch) }
            guard errno == EEXIST else { break }
        }
        throw failure(path)
    }

    /// A new name is durable when its directory is.
    private static func flushDirectory(of path: String) throws(Failure) {
        let directory = directory(of: path)
        let descriptor = open(directory.isEmpty ? "." : directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path) }
        defer { close(descriptor) }
        // Some file systems have nothing to flush there.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw failure(path) }
    }

    /// Makes the directories that lead to `path`, as far as they are missing.
    public static func makeDirectories(above path: String, mode: mode_t = 0o777) throws(Failure) {
        let bytes = Array(directory(of: path).utf8)
        for end in bytes.indices where bytes[end] == UInt8(ascii: "/") && end > 0 {
            let part = String(decoding: bytes[..<end], as: UTF8.self)
            guard mkdir(part, mode) == 0 || errno == EEXIST else { throw failure(part) }
        }
    }

    /// The directory that `path` is in, with the slash at its end; empty for the one in use.
    private static func directory(of path: String) -> String {
        let bytes = Array(path.utf8)
        let end = bytes.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
        return String(decoding: bytes[..<end], as: UTF8.self)
    }

    private static func failure(_ path: String) -> Failure { Failure(path: path, errorNumber: errno) }
}
