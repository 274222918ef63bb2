import BlockStorage
import Glibc

/// Why a file cannot be used as a virtual disk: which file, where in it, what was found and what was expected.
public struct ImageError: Error, Hashable, Sendable {
    /// What kind of failure this is.
    public enum Code: Hashable, Sendable {
        /// A disk image of a format that is not understood, named; the file is served as it is.
        case unsupported(String)
        /// The image contradicts its own format or itself.
        case malformed
        /// The image names a file that it may not use: outside its directory, or not a plain file.
        case forbiddenFile
        /// The operating system said no; `errno`'s value.
        case system(Int32)
    }

    /// What kind of failure this is.
    public let code: Code
    /// The file that is at fault.
    public let path: String
    /// Where in that file, in bytes; nil when the whole file is meant.
    public let offset: Int?
    /// What was found and what was expected.
    public let message: String

    /// An error in `path`.
    public init(_ code: Code, path: String, offset: Int? = nil, message: String) {
        self.code = code
        self.path = path
        self.offset = offset
        self.message = message
    }

    /// Whether the file is not there at all.
    var isNoSuchFile: Bool { code == .system(ENOENT) }

    /// Whether another attempt may fare better: the storage failed, or the system was short of something.
    public var mayPass: Bool {
        guard case .system(let number) = code else { return false }
        return Self.passing.contains(number)
    }

    private static let passing: Set<Int32> = [
        EIO, EAGAIN, EINTR, ENOMEM, EMFILE, ENFILE, ETIMEDOUT, ENOTCONN, ESHUTDOWN, EREMOTEIO, ENODATA,
    ]

    /// The error that the last system call of this thread left in `errno`.
    static func lastSystemError(_ operation: String, path: String) -> ImageError {
        let number = errno
        return ImageError(.system(number), path: path, message: "\(operation): \(String(cString: strerror(number)))")
    }
}

extension ImageError: CustomStringConvertible {
    /// One line that names file, offset and cause.
    public var description: String {
        let place = offset.map { " at \($0)" } ?? ""
        return "\(path)\(place): \(message)"
    }
}
