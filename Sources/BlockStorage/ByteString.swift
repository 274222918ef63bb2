/// Bytes that were written as text in no particular encoding: a file's name or path, a label.
///
/// Linux takes any bytes for a name but zero and the slash, and so does a guest. They are kept as they are; what people
/// see is ``description``, in which no name can steer a terminal, begin a line of its own, or look like another.
public struct ByteString: Hashable, Sendable {
    /// The bytes.
    public var bytes: [UInt8]

    /// The string of `bytes`.
    public init(_ bytes: some Sequence<UInt8>) {
        self.bytes = Array(bytes)
    }

    /// The string of `text` in UTF-8.
    public init(_ text: some StringProtocol) {
        bytes = Array(text.utf8)
    }

    /// The string that `description` shows: `\xHH` is a byte, `\\` a backslash, and any other backslash is itself.
    public init(escaped description: some StringProtocol) {
        let shown = Array(description.utf8)
        bytes = []
        var next = 0
        while next < shown.count {
            if let byte = Self.escapedByte(in: shown, at: next) {
                bytes.append(byte)
                next += 4
            } else {
                bytes.append(shown[next])
                next += shown[next...].starts(with: #"\\"#.utf8) ? 2 : 1
            }
        }
    }

    /// The path from the root with these names.
    public init(path names: [ByteString]) {
        bytes = Array("/".utf8) + names.map(\.bytes).joined(separator: "/".utf8)
    }

    /// The byte that four characters name from `place` on: `\x` and two hexadecimal digits.
    private static func escapedByte(in shown: [UInt8], at place: Int) -> UInt8? {
        let word = shown[place...].prefix(4)
        guard word.count == 4, word.starts(with: #"\x"#.utf8) else { return nil }
        let digits = word.suffix(2).map { Character(Unicode.Scalar($0)).hexDigitValue }
        guard let high = digits[0], let low = digits[1] else { return nil }
        return UInt8(high << 4 | low)
    }

    /// Calls `body` with the bytes and a zero after them, as system calls take names.
    public func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        (bytes.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer { terminated in
            guard let start = terminated.baseAddress else { preconditionFailure("a terminated string has bytes") }
            return body(start)
        }
    }

    /// The text, exactly; nil when the bytes are not UTF-8.
    public var text: String? { String(validating: bytes, as: UTF8.self) }
}

extension ByteString: ExpressibleByStringLiteral {
    /// The string of a literal in UTF-8.
    public init(stringLiteral text: String) { self.init(text) }
}

extension ByteString: Comparable {
    /// The order of the bytes.
    public static func < (left: ByteString, right: ByteString) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

extension ByteString: CustomStringConvertible {
    /// The string for people, which ``init(escaped:)`` reads: a backslash is doubled, and each byte of what is not UTF-8
    /// or cannot be seen is `\xHH`.
    public var description: String {
        var shown = ""
        shown.reserveCapacity(bytes.count)
        var next = 0
        while next < bytes.count {
            let piece = bytes[next...].prefix(Self.width(ofScalarAfter: bytes[next]))
            if piece.first == UInt8(ascii: "\\") {
                shown += #"\\"#
            } else if let scalar = String(validating: piece, as: UTF8.self)?.unicodeScalars.first {
                shown += printable(scalar)
            } else {
                shown += hexadecimal(bytes[next])
                next += 1
                continue
            }
            next += piece.count
        }
        return shown
    }

    /// How many bytes a scalar has that begins with `byte`.
    private static func width(ofScalarAfter byte: UInt8) -> Int {
        switch byte {
        case 0xC2..<0xE0: 2
        case 0xE0..<0xF0: 3
        case 0xF0...: 4
        default: 1
        }
    }
}
