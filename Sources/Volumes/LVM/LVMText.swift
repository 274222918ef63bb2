import BlockStorage

/// Text in lvm's configuration syntax, as metadata areas hold it: `name = value` and `name { … }`.
enum LVMText {
    /// A value, or a section of named values.
    enum Value: Hashable {
        /// A quoted string.
        case string(String)
        /// A whole number that fits.
        case integer(Int)
        /// A number that does not fit or is not whole, and bare words: as they are written.
        case other(String)
        /// An array; its elements are neither arrays nor sections.
        case list([Value])
        /// A section.
        case section(Section)
    }

    /// The named values of a section, in the order of the text.
    struct Section: Hashable {
        fileprivate(set) var entries: [Entry] = []

        /// A name and its value.
        struct Entry: Hashable {
            let name: String
            let value: Value
        }

        /// The first value with this name.
        subscript(name: String) -> Value? { entries.first { $0.name == name }?.value }
    }

    /// Where the text breaks its syntax, in bytes from its start, and how.
    struct SyntaxError: Error, Hashable {
        let position: Int
        let message: String
    }

    /// The deepest nesting of sections that is read; lvm's own metadata nests four deep.
    static let maximumDepth = 16
    /// The greatest number of names and array elements that is read.
    static let maximumValues = 1 << 18

    /// The longest name, string or word that is read; lvm's names have 127 bytes at most.
    static let maximumLength = 4096

    /// Reads `bytes`, up to the first NUL or their end, as the contents of a section.
    ///
    /// - Parameter values: Names and array elements that may be read; those that were are taken off.
    static func parse(_ bytes: [UInt8], values: inout Int) throws(SyntaxError) -> Section {
        var parser = Parser(bytes: bytes, values: values)
        defer { values = parser.values }
        return try parser.parse()
    }

    /// As ``parse(_:values:)`` with as many values as are read of a disk.
    static func parse(_ bytes: [UInt8]) throws(SyntaxError) -> Section {
        var values = maximumValues
        return try parse(bytes, values: &values)
    }
}

extension LVMText.Value {
    /// The string, when it is one.
    var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The number, when it is a whole one that fits.
    var integer: Int? { if case .integer(let value) = self { value } else { nil } }
    /// The elements, when it is an array.
    var list: [LVMText.Value]? { if case .list(let value) = self { value } else { nil } }
    /// The section, when it is one.
    var section: LVMText.Section? { if case .section(let value) = self { value } else { nil } }
}

/// Reads the text with a stack of its own: nesting cannot exhaust the thread's.
private struct Parser {
    private let bytes: [UInt8]
    private var position = 0
    /// Names and array elements that may still be read.
    private(set) var values: Int

    init(bytes: [UInt8], values: Int) {
        self.bytes = bytes
        self.values = values
    }

    mutating func parse() throws(LVMText.SyntaxError) -> LVMText.Section {
        // The innermost open section is changed where it lies: a copy for each child would take quadratic time.
        var open = [(name: "", section: LVMText.Section())]
        while true {
            skipBlanks()
            guard let byte = peek() else {
                guard open.count == 1 else {
                    throw error("the text ends inside \(open.count - 1) sections, expected }")
                }
                return open[0].section
            }
            if byte == UInt8(ascii: "}") {
                guard open.count > 1 else { throw error("unexpected }") }
                position += 1
                let closed = open.removeLast()
                append(closed.name, .section(closed.section), to: &open)
                continue
            }
            let name = try parseName()
            skipBlanks()
            switch peek() {
            case UInt8(ascii: "{")?:
                guard open.count <= LVMText.maximumDepth else {
                    throw error("sections nest deeper than \(LVMText.maximumDepth)")
                }
                position += 1
                open.append((name, LVMText.Section()))
            case UInt8(ascii: "=")?:
                position += 1
                append(name, try parseValue(), to: &open)
            default:
                throw error("expected = or { after \(printable(name))")
            }
        }
    }

    private func append(
        _ name: String, _ value: LVMText.Value, to open: inout [(name: String, section: LVMText.Section)]
    ) {
        open[open.count - 1].section.entries.append(LVMText.Section.Entry(name: name, value: value))
    }

    private mutating func parseName() throws(LVMText.SyntaxError) -> String {
        try countValue()
        if peek() == UInt8(ascii: "\"") { return try parseString() }
        let word = takeWord()
        guard !word.isEmpty, word.count <= LVMText.maximumLength else { throw error("expected a name") }
        return String(decoding: word, as: UTF8.self)
    }

    private mutating func parseValue() throws(LVMText.SyntaxError) -> LVMText.Value {
        skipBlanks()
        guard peek() == UInt8(ascii: "[") else { return try parseScalar() }
        position += 1
        var elements: [LVMText.Value] = []
        while true {
            skipBlanks()
            guard let byte = peek() else { throw error("the text ends inside an array, expected ]") }
            switch byte {
            case UInt8(ascii: "]"):
                position += 1
                return .list(elements)
            case UInt8(ascii: ","):
                position += 1
            default:
                try countValue()
                elements.append(try parseScalar())
            }
        }
    }

    private mutating func parseScalar() throws(LVMText.SyntaxError) -> LVMText.Value {
        if peek() == UInt8(ascii: "\"") { return .string(try parseString()) }
        let word = takeWord()
        guard !word.isEmpty, word.count <= LVMText.maximumLength else { throw error("expected a value") }
        let text = String(decoding: word, as: UTF8.self)
        return Int(text).map { .integer($0) } ?? .other(text)
    }

    /// A string in quotes, in which a backslash protects the quote and itself.
    private mutating func parseString() throws(LVMText.SyntaxError) -> String {
        let start = position
        position += 1
        var content: [UInt8] = []
        while let byte = peek() {
            guard content.count < LVMText.maximumLength else {
                throw error("a string of more than \(LVMText.maximumLength) bytes")
            }
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                return String(decoding: content, as: UTF8.self)
            case UInt8(ascii: "\\"):
                if let next = peek() {
                    content.append(next)
                    position += 1
                }
            default:
                content.append(byte)
            }
        }
        position = start
        throw error("the string that begins here has no end, expected \"")
    }

    /// The bytes up to the next blank or character of the syntax.
    private mutating func takeWord() -> ArraySlice<UInt8> {
        let start = position
        while let byte = peek(), !Self.isBlank(byte), !Self.endsWord(byte) {
            position += 1
        }
        return bytes[start..<position]
    }

    private mutating func skipBlanks() {
        while let byte = peek() {
            if byte == UInt8(ascii: "#") {
                while let byte = peek(), byte != UInt8(ascii: "\n") { position += 1 }
            } else if Self.isBlank(byte) {
                position += 1
            } else {
                return
            }
        }
    }

    private func peek() -> UInt8? {
        guard position < bytes.count, bytes[position] != 0 else { return nil }
        return bytes[position]
    }

    private mutating func countValue() throws(LVMText.SyntaxError) {
        guard values > 0 else { throw error("more than \(LVMText.maximumValues) values") }
        values -= 1
    }

    private func error(_ message: String) -> LVMText.SyntaxError {
        LVMText.SyntaxError(position: position, message: message)
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || (9...13).contains(byte)
    }

    private static func endsWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "="),
            UInt8(ascii: ","), UInt8(ascii: "#"), UInt8(ascii: "\""):
            true
        default: false
        }
    }
}
