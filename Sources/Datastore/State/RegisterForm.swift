import BlockStorage
import Tiering

/// How a register of the state directory is written: lines of words between a first line that says what the file is and
/// a last one with a checksum, so that what is cut off or damaged is never taken for all there is.
///
///     introspect NAME VERSION COUNT     the form's version, and the number of lines between this and the last
///     WORD WORD …                       separated by one space each
///     crc32c CHECKSUM                   of all bytes before this line, in hexadecimal
///
/// A word is any bytes; those that are not printable ASCII, the space and the backslash stand as `\x` and two digits.
/// Version 1 had neither the first line nor the last, and cannot be told from a file that was cut off: it is read only
/// where the state directory has never been in the present form (``StateContents``).
struct RegisterForm {
    static let version = 2
    private static let mark = Array("introspect".utf8)
    private static let checksumWord = Array("crc32c".utf8)
    private static let newline = UInt8(ascii: "\n")
    private static let space = UInt8(ascii: " ")
    private static let backslash = UInt8(ascii: "\\")

    /// A line of a file.
    struct Line {
        /// From 1.
        let number: Int
        let words: [[UInt8]]

        /// The word at `index` as text; empty when there is none.
        func text(_ index: Int) -> String {
            words.indices.contains(index) ? String(decoding: words[index], as: UTF8.self) : ""
        }
    }

    /// The file's path, for messages.
    let path: String
    /// The register's name in its first line.
    let name: String

    /// Whether `bytes` are in this form, of whatever version; else in the first, or damaged.
    static func isForm(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: mark)
    }

    /// The bytes of a file with `lines`.
    func encode(_ lines: [[[UInt8]]]) -> [UInt8] {
        var bytes = Self.mark + Array(" \(name) \(Self.version) \(lines.count)\n".utf8)
        for words in lines {
            for (index, word) in words.enumerated() {
                if index > 0 { bytes.append(Self.space) }
                Self.append(word, to: &bytes)
            }
            bytes.append(Self.newline)
        }
        return bytes + Self.checksumLine(of: bytes)
    }

    /// The lines of a file, all of them.
    func decode(_ bytes: [UInt8]) throws(DatastoreError) -> [Line] {
        guard bytes.last == Self.newline else {
            let count = bytes.split(separator: Self.newline, omittingEmptySubsequences: false).count
            throw damage(line: count, expected: "the line's end", found: "the end of the file")
        }
        let texts = bytes.dropLast().split(separator: Self.newline, omittingEmptySubsequences: false)
        let count = try lineCount(of: texts[0], found: texts.count)
        guard texts.count == count + 2 else {
            throw damage(
                line: texts.count, expected: "\(count) lines between the first and the last",
                found: "\(texts.count - 2)")
        }
        let last = bytes.count - texts[count + 1].count - 1
        guard Array(bytes[last...]) == Self.checksumLine(of: Array(bytes[..<last])) else {
            let expected = Self.checksumLine(of: Array(bytes[..<last])).dropLast()
            throw damage(
                line: count + 2, expected: String(decoding: expected, as: UTF8.self),
                found: ByteString(texts[count + 1]).description)
        }
        var lines: [Line] = []
        for (index, text) in texts[1..<count + 1].enumerated() {
            var words: [[UInt8]] = []
            for word in text.split(separator: Self.space, omittingEmptySubsequences: false) {
                guard let bytes = Self.unescape(word) else {
                    throw damage(line: index + 2, expected: "words", found: ByteString(text).description)
                }
                words.append(bytes)
            }
            lines.append(Line(number: index + 2, words: words))
        }
        return lines
    }

    /// The file is not what it should be.
    func damage(line: Int, expected: String, found: String) -> DatastoreError {
        DatastoreError(
            .serverFault,
            """
            \(path), line \(line): expected \(expected), found \(found): the file is damaged, and says which images have \
            blocks that are nowhere else; put it back from a copy of the state directory
            """)
    }

    private func lineCount(of first: ArraySlice<UInt8>, found: Int) throws(DatastoreError) -> Int {
        let words = first.split(separator: Self.space, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        guard words.count >= 3, words[1] == name, let version = Int(words[2]) else {
            throw damage(
                line: 1, expected: "introspect \(name) \(Self.version) and a number",
                found: ByteString(first).description)
        }
        guard version <= Self.version else {
            throw DatastoreError(
                .serverFault,
                """
                \(path): is in version \(version) of its form, and this introspectd knows versions up to \
                \(Self.version): start the newer introspectd that wrote it
                """)
        }
        guard version == Self.version, words.count == 4, let count = Int(words[3]), count >= 0, count < .max - 2 else {
            throw damage(
                line: 1, expected: "introspect \(name) \(Self.version) and a number of lines",
                found: ByteString(first).description)
        }
        return count
    }

    private static func checksumLine(of bytes: [UInt8]) -> [UInt8] {
        let checksum = String(bytes.withUnsafeBytes { CRC32C.checksum($0) }, radix: 16)
        let padding = String(repeating: "0", count: 8 - checksum.count)
        return checksumWord + [space] + Array((padding + checksum).utf8) + [newline]
    }

    private static func append(_ word: [UInt8], to bytes: inout [UInt8]) {
        for byte in word {
            if (0x21...0x7E).contains(byte), byte != backslash {
                bytes.append(byte)
            } else {
                bytes.append(backslash)
                bytes.append(UInt8(ascii: "x"))
                bytes.append(hexadecimalDigit(byte >> 4))
                bytes.append(hexadecimalDigit(byte & 15))
            }
        }
    }

    private static func unescape(_ word: ArraySlice<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = word
        while let byte = rest.popFirst() {
            guard (0x21...0x7E).contains(byte) else { return nil }
            guard byte == backslash else {
                bytes.append(byte)
                continue
            }
            guard rest.popFirst() == UInt8(ascii: "x"), let high = rest.popFirst().flatMap(digit),
                let low = rest.popFirst().flatMap(digit)
            else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}

/// The digit of a value below 16.
private func hexadecimalDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
}

extension ImageIdentity {
    /// The bytes as text.
    var hexadecimal: String {
        String(decoding: bytes.flatMap { [hexadecimalDigit($0 >> 4), hexadecimalDigit($0 & 15)] }, as: UTF8.self)
    }

    /// The identity that ``hexadecimal`` says.
    init?(hexadecimal text: some StringProtocol) {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == text.count, digits.count.isMultiple(of: 2) else { return nil }
        self.init(stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) })
    }
}
