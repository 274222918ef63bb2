import Glibc

/// Why the test bed could not do what was asked: one line that a person can act upon.
public struct TestBedError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong, with the names of the things involved.
    public let description: String

    /// An error that says `description`.
    public init(_ description: String) {
        self.description = description
    }

    /// `operation` followed by the reason that the last system call of this thread left in `errno`.
    public static func lastSystemError(_ operation: String) -> TestBedError {
        let number = errno
        return TestBedError("\(operation): \(String(cString: strerror(number)))")
    }
}
