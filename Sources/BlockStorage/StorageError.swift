import Glibc

/// A failed access to a device or file: what was tried, where, and why it failed.
public struct StorageError: Error, Hashable, Sendable {
    /// What kind of failure this is.
    public enum Code: Hashable, Sendable {
        /// The range is not on the device.
        case outOfRange
        /// The file ended before the bytes that were asked for: it was truncated behind our back.
        case unexpectedEnd
        /// The device was opened for reading only.
        case readOnly
        /// What was read is not what was written there: a checksum is wrong, or a structure makes no sense.
        case damaged
        /// The operating system said no; `errno`'s value.
        case system(Int32)
    }

    /// What kind of failure this is.
    public let code: Code
    /// What was being done: `read`, `write`, `open` …
    public let operation: String
    /// The device or file, as a person would name it.
    public let device: String
    /// Where on the device, in bytes; nil when the whole device is meant.
    public let range: ByteRange?

    /// An error of `operation` on `device`.
    public init(_ code: Code, operation: String, device: String, range: ByteRange? = nil) {
        self.code = code
        self.operation = operation
        self.device = device
        self.range = range
    }

    /// The error that the last system call of this thread left in `errno`.
    public static func lastSystemError(operation: String, device: String, range: ByteRange? = nil) -> StorageError {
        StorageError(.system(errno), operation: operation, device: device, range: range)
    }

    /// The value of `errno` that says the same; `EIO` for what is not the operating system's own error.
    public var errorNumber: Int32 {
        switch code {
        case .outOfRange, .unexpectedEnd, .damaged: EIO
        case .readOnly: EROFS
        case .system(let number): number
        }
    }
}

extension StorageError: CustomStringConvertible {
    /// One line that names device, range and cause.
    public var description: String {
        let place = range.map { " at \($0.offset), \($0.length) bytes" } ?? ""
        return "\(device): \(operation)\(place): \(cause)"
    }

    private var cause: String {
        switch code {
        case .outOfRange: "outside the device"
        case .unexpectedEnd: "the file ended early"
        case .readOnly: "opened for reading only"
        case .damaged: "damaged"
        case .system(let number): String(cString: strerror(number))
        }
    }
}
