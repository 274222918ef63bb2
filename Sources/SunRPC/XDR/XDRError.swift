/// Bytes that are not the XDR value that was expected there (RFC 4506): what was wrong, and where.
public struct XDRError: Error, Hashable, Sendable {
    /// What was wrong.
    public enum Code: Hashable, Sendable {
        /// The data ended: this many bytes were needed, and so many were left.
        case endOfData(needed: Int, available: Int)
        /// A variable-length item says that it is longer than its type allows; both in bytes (elements, for an array).
        case tooLong(length: UInt32, maximum: Int)
        /// A boolean or a discriminant with a value that its type does not have.
        case invalidValue(UInt32)
        /// A string that is not UTF-8.
        case invalidText
    }

    /// What was wrong.
    public let code: Code
    /// Where the item starts, in bytes from the start of the data.
    public let offset: Int

    /// An error about the item at `offset`.
    public init(_ code: Code, offset: Int) {
        self.code = code
        self.offset = offset
    }
}

extension XDRError: CustomStringConvertible {
    /// One line that says where, what was found and what was expected.
    public var description: String {
        switch code {
        case .endOfData(let needed, let available):
            "at byte \(offset): \(needed) bytes expected, \(available) left"
        case .tooLong(let length, let maximum):
            "at byte \(offset): length \(length), at most \(maximum) expected"
        case .invalidValue(let value):
            "at byte \(offset): unexpected value \(value)"
        case .invalidText:
            "at byte \(offset): not UTF-8 text"
        }
    }
}
