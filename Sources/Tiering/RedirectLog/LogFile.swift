import BlockStorage
import Glibc

/// The log's file on the fast device: all of it is written when it is made, so that a commit changes no metadata of the
/// file system that holds it.
public final class LogFile: BlockDevice {
    /// The name of the file in its directory.
    public static let fileName = "redirect.log"
    /// The smallest file, in bytes.
    public static let smallestSize = 64 << 20
    private static let chunk = 4 << 20

    /// The path of the log's file in a directory, the same however the directory is spelled, if it is there.
    public static func path(in directory: String) -> String {
        guard let resolved = realpath(directory, nil) else { return "\(directory)/\(fileName)" }
        defer { free(resolved) }
        return "\(String(cString: resolved))/\(fileName)"
    }

    /// A log file's path as ``path(in:)`` gives it; the same where its directory is not there.
    public static func sameSpelling(of path: [UInt8]) -> [UInt8] {
        guard let end = path.lastIndex(of: UInt8(ascii: "/")) else { return path }
        let directory = end == 0 ? "/" : String(decoding: path[..<end], as: UTF8.self)
        return Array(Self.path(in: directory).utf8)
    }

    private let device: FileDevice
    private let lock: Int32

    /// Opens the log file of `directory`, or makes one of `size` bytes, with an empty log in it, where there is none.
    ///
    /// - Parameter size: nil for a file that must be there.
    /// - Throws: also when another process has the file open as a log, and when it is another user's, or others may write to
    ///   it.
    public init(directory: String, size: Int?) throws(StorageError) {
        let path = "\(directory)/\(Self.fileName)"
        if let size, access(path, F_OK) != 0 {
            try Self.make(path, directory: directory, size: max(size, Self.smallestSize))
        }
        try Self.check(path, at: open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC))
        lock = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC)
        guard lock >= 0 else { throw StorageError.lastSystemError(operation: "open", device: path) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            let error = StorageError.lastSystemError(operation: "lock", device: path)
            close(lock)
            throw error
        }
        do throws(StorageError) {
            device = try FileDevice(path: path, access: .readWrite, mode: .directIfPossible)
        } catch {
            close(lock)
            throw error
        }
    }

    deinit {
        close(lock)
    }

    /// What the log file at `path` says of the log that it belongs to; nil when there is no file, or no log in it. It may be
    /// in use, and stays as it is.
    ///
    /// - Throws: also where it is another user's, or others may write to it.
    public static func label(at path: String) throws(StorageError) -> LogLabel? {
        let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 || errno != ENOENT else { return nil }
        try check(path, at: descriptor)
        return try RedirectLog.label(of: FileDevice(path: path, access: .readOnly, mode: .directIfPossible))
    }

    /// The file's path.
    public var name: String { device.name }
    /// The size in bytes.
    public var size: Int { device.size }

    /// Fills `buffer` from `offset`.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try device.read(into: buffer, at: offset)
    }

    /// Writes `bytes` at `offset`.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try device.write(bytes, at: offset)
    }

    /// `fdatasync`.
    public func flush() throws(StorageError) {
        try device.flush()
    }

    /// Throws when what `descriptor`, which is closed, has open is no file of the server's own: one of another user, or that
    /// others may write to.
    private static func check(_ path: String, at descriptor: Int32) throws(StorageError) {
        guard descriptor >= 0 else { throw StorageError.lastSystemError(operation: "open", device: path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw StorageError.lastSystemError(operation: "stat", device: path)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw StorageError(.system(EINVAL), operation: "open what is no regular file", device: path)
        }
        guard [0, geteuid()].contains(status.st_uid), status.st_mode & 0o022 == 0 else {
            let mode = String(status.st_mode & 0o7777, radix: 8)
            throw StorageError(
                .system(EPERM), operation: "use a log of user \(status.st_uid) with mode \(mode) (chown, chmod go-w)",
                device: path)
        }
    }

    /// Writes a file of zeros with an empty log under another name, and gives it its own when it is durable.
    private static func make(_ path: String, directory: String, size: Int) throws(StorageError) {
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw StorageError.lastSystemError(operation: "make", device: temporary) }
        defer { close(descriptor) }
        let status = posix_fallocate(descriptor, 0, size)
        guard status == 0 else {
            unlink(temporary)
            throw StorageError(.system(status), operation: "allocate \(size) bytes", device: temporary)
        }
        let device = try FileDevice(path: temporary, access: .readWrite, mode: .directIfPossible)
        let zeros = AlignedBuffer(count: chunk)
        for offset in stride(from: 0, to: size, by: chunk) {
            let count = min(chunk, size - offset)
            try device.write(UnsafeRawBufferPointer(rebasing: zeros.bytes[..<count]), at: offset)
        }
        try RedirectLog.format(device, identity: UInt128.random(in: 1 ... .max))
        guard rename(temporary, path) == 0 else {
            throw StorageError.lastSystemError(operation: "rename", device: temporary)
        }
        let parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { throw StorageError.lastSystemError(operation: "open", device: directory) }
        defer { close(parent) }
        guard fsync(parent) == 0 else { throw StorageError.lastSystemError(operation: "flush", device: directory) }
    }
}
