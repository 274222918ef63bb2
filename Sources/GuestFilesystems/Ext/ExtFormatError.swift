/// Bytes that are not the ext structure they should be: which field, where, and what was expected.
public struct ExtFormatError: Error, Hashable, Sendable {
    /// What kind of failure this is.
    public enum Code: Hashable, Sendable {
        /// The bytes end before the structure does.
        case tooShort
        /// The magic number is another: there is no such structure here.
        case badMagic
        /// The structure is here, and a number in it makes no sense.
        case badValue
    }

    /// What kind of failure this is.
    public let code: Code
    /// The structure: `superblock`, `group descriptor` …
    public let structure: String
    /// The field, by the name that the Linux kernel gives it.
    public let field: String
    /// Where the field is in its structure, in bytes.
    public let offset: Int
    /// What the field holds.
    public let found: UInt64
    /// What it should hold.
    public let expected: String

    /// An error about `field`, at `offset` bytes in `structure`.
    public init(
        _ code: Code, _ structure: String, field: String, offset: Int, found: UInt64, expected: String
    ) {
        self.code = code
        self.structure = structure
        self.field = field
        self.offset = offset
        self.found = found
        self.expected = expected
    }
}

extension ExtFormatError: CustomStringConvertible {
    /// One line that names structure, field, what it holds and what was expected.
    public var description: String {
        switch code {
        case .tooShort:
            "\(structure): only \(found) bytes, expected \(expected)"
        case .badMagic:
            "\(structure): no magic number at byte \(offset): \(hexadecimal(found)), expected \(expected)"
        case .badValue:
            "\(structure): \(field) at byte \(offset) is \(found), expected \(expected)"
        }
    }
}

func hexadecimal(_ value: some BinaryInteger) -> String {
    "0x" + String(value, radix: 16)
}
