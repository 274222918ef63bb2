import BlockStorage

/// The text that describes a VMware disk: its kind and its extents (VMware "Virtual Disk Format 5.0").
struct VMDKDescriptor {
    /// A line of the extent description.
    struct Extent: Hashable {
        /// Where the bytes are.
        enum Source: Hashable {
            /// In a file beside the descriptor, from a byte on. Its name has the bytes that stand in the descriptor, which
            /// is what qemu opens; where there is no such file, those of the same text in UTF-8.
            case file(name: ByteString, inUTF8: ByteString?, offset: Int)
            /// Nowhere: they are zeros.
            case zero
        }

        /// Where the line begins in the descriptor.
        let lineOffset: Int
        /// The number of bytes.
        let length: Int
        let source: Source
    }

    /// The longest descriptor that is read.
    static let maximumLength = 64 << 10
    /// The greatest number of extents: 4 TiB in files of 2 GiB.
    static let maximumExtents = 2048
    private static let sectorLength = 512
    private static let supportedTypes = ["monolithicFlat", "twoGbMaxExtentFlat", "vmfs"]

    /// The extents in the order of the disk; at least one.
    let extents: [Extent]

    /// Whether a file that begins with `head` is a descriptor. Its makers agree neither on blanks in the first line, nor on
    /// what may come before it.
    static func isDescriptor(_ head: [UInt8]) -> Bool {
        let signature = Array("#diskdescriptorfile".utf8)
        var start = head[...].starts(with: byteOrderMark) ? head.dropFirst(byteOrderMark.count) : head[...]
        start = start.drop { isBlank($0) || isLineEnd($0) }
        let line = start.prefix(64).prefix { !isLineEnd($0) }.filter { !isBlank($0) }
        return line.map { (65...90).contains($0) ? $0 + 32 : $0 } == signature
    }

    /// That of UTF-8.
    private static let byteOrderMark: [UInt8] = [0xef, 0xbb, 0xbf]

    private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

    private static func isLineEnd(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") || byte == 0
    }

    /// Reads a descriptor; `path` is its file, for errors.
    init(parsing bytes: [UInt8], path: String) throws(ImageError) {
        var createType: String?
        let decoder = TextDecoder(encoding: Self.encoding(in: bytes))
        var extentLines: [(offset: Int, access: Access, fields: LineFields)] = []
        for (offset, bytes) in Self.lines(of: bytes) {
            var fields = LineFields(bytes)
            guard let first = fields.nextText() else { continue }
            if let access = Access(rawValue: first.uppercased()) {
                extentLines.append((offset, access, fields))
            } else if let (key, value) = Self.assignment(bytes) {
                switch key.lowercased() {
                case "createtype": createType = value
                case "parentcid": try Self.checkParent(value, path: path, offset: offset)
                default: continue
                }
            }
        }
        try Self.checkType(createType, path: path)
        guard !extentLines.isEmpty, extentLines.count <= Self.maximumExtents else {
            throw ImageError(
                .malformed, path: path,
                message: "\(extentLines.count) extents in the VMDK descriptor, expected 1 to \(Self.maximumExtents)")
        }
        var extents: [Extent] = []
        for (offset, access, fields) in extentLines {
            if let extent = try Self.extent(access, fields, decoder, path: path, offset: offset) {
                extents.append(extent)
            }
        }
        guard !extents.isEmpty else {
            throw ImageError(.malformed, path: path, message: "the extents of the VMDK descriptor have no sectors")
        }
        self.extents = extents
    }

    /// The value of `encoding`, which names the one of the text.
    private static func encoding(in bytes: [UInt8]) -> String? {
        for (_, line) in lines(of: bytes) {
            guard let (key, value) = assignment(line) else { continue }
            if key.lowercased() == "encoding" { return value }
        }
        return nil
    }

    private static func checkType(_ createType: String?, path: String) throws(ImageError) {
        guard let createType else {
            throw ImageError(.malformed, path: path, message: "the VMDK descriptor has no createType")
        }
        guard supportedTypes.contains(createType) else {
            let type = createType.prefix(40).filter { $0.isLetter || $0.isNumber }
            throw ImageError(
                .unsupported("VMDK \(type)"), path: path,
                message: "VMDK of type \(type), expected one of \(supportedTypes.joined(separator: ", "))")
        }
    }

    private enum Access: String {
        case readWrite = "RW"
        case readOnly = "RDONLY"
        case none = "NOACCESS"
    }

    /// A disk with a parent holds only what differs from it.
    private static func checkParent(_ value: String, path: String, offset: Int) throws(ImageError) {
        guard value.lowercased() != "ffffffff" else { return }
        throw ImageError(
            .unsupported("VMDK snapshot"), path: path, offset: offset,
            message: "a VMDK that holds the differences from a parent disk, expected parentCID ffffffff")
    }

    /// Reads what follows the access of an extent line: sectors, type, file name, first sector. Nil for one of no sectors.
    private static func extent(
        _ access: Access, _ fields: LineFields, _ decoder: TextDecoder, path: String, offset: Int
    ) throws(ImageError) -> Extent? {
        var fields = fields
        func problem(_ message: String) -> ImageError {
            ImageError(.malformed, path: path, offset: offset, message: "extent: \(message)")
        }
        guard let size = fields.nextText(), let length = bytes(ofSectors: size) else {
            throw problem("expected its size in sectors")
        }
        guard length > 0 else { return nil }
        guard access != .none else {
            throw ImageError(
                .unsupported("VMDK with NOACCESS extents"), path: path, offset: offset,
                message: "an extent without access, expected RW or RDONLY")
        }
        let type = fields.nextText()?.uppercased() ?? ""
        switch type {
        case "ZERO":
            return Extent(lineOffset: offset, length: length, source: .zero)
        case "FLAT", "VMFS":
            guard let name = fields.next() else { throw problem("expected a file name in quotes") }
            guard isPlain(name) else {
                throw ImageError(
                    .forbiddenFile, path: path, offset: offset,
                    message: "extent: expected the plain name of a file in the descriptor's directory")
            }
            guard let start = bytes(ofSectors: fields.nextText() ?? "0"), start <= Int.max - length else {
                throw problem("expected the number of its first sector in \(ByteString(name))")
            }
            let decoded = decoder.text(name).map { Array($0.utf8) }.flatMap { $0 != name && isPlain($0) ? $0 : nil }
            return Extent(
                lineOffset: offset, length: length,
                source: .file(name: ByteString(name), inUTF8: decoded.map { ByteString($0) }, offset: start))
        default:
            let type = type.prefix(20).filter { $0.isLetter || $0.isNumber }
            throw ImageError(
                .unsupported("VMDK with \(type) extents"), path: path, offset: offset,
                message: "an extent of type \(type), expected FLAT, VMFS or ZERO")
        }
    }

    /// A descriptor is a guest's or a client's file: it must not lead to others than those beside it.
    private static func isPlain(_ name: [UInt8]) -> Bool {
        !name.isEmpty && name.count <= 255 && name != Array(".".utf8) && name != Array("..".utf8)
            && name.allSatisfy { $0 >= 0x20 && $0 != 0x7f && $0 != UInt8(ascii: "/") }
    }

    private static func bytes(ofSectors text: String) -> Int? {
        guard let sectors = Int(text), sectors >= 0 else { return nil }
        let (bytes, overflow) = sectors.multipliedReportingOverflow(by: sectorLength)
        return overflow ? nil : bytes
    }

    /// The lines that are not empty and no comments, with where they begin.
    private static func lines(of bytes: [UInt8]) -> [(offset: Int, bytes: ArraySlice<UInt8>)] {
        let text = bytes.starts(with: byteOrderMark) ? bytes.dropFirst(byteOrderMark.count) : bytes[...]
        return text.split(whereSeparator: isLineEnd).map { ($0.startIndex, $0) }
            .filter { $0.1.first != UInt8(ascii: "#") }
    }

    /// The two sides of `key = "value"`, without quotes.
    private static func assignment(_ line: ArraySlice<UInt8>) -> (key: String, value: String)? {
        let line = String(decoding: line, as: UTF8.self)
        guard let equals = line.firstIndex(of: "=") else { return nil }
        func isPadding(_ character: Character) -> Bool { character.isWhitespace || character == "\"" }
        let value = line[line.index(after: equals)...].drop(while: isPadding).reversed().drop(while: isPadding)
        let key = line[..<equals].filter { !$0.isWhitespace }
        return (key, String(value.reversed()))
    }
}

/// The blank-separated fields of a line; quotes hold one together. No encoding that is read has a character with a quote or
/// a blank among its bytes.
private struct LineFields {
    private var rest: ArraySlice<UInt8>

    init(_ line: ArraySlice<UInt8>) {
        rest = line
    }

    /// The next field without its quotes; nil at the end, and for a quote that is not closed.
    mutating func next() -> [UInt8]? {
        rest = rest.drop(while: Self.isBlank)
        guard let first = rest.first else { return nil }
        let quote = UInt8(ascii: "\"")
        if first == quote {
            let inside = rest.dropFirst()
            guard let end = inside.firstIndex(of: quote) else { return nil }
            rest = inside[(end + 1)...]
            return Array(inside[..<end])
        }
        let field = rest.prefix { !Self.isBlank($0) && $0 != quote }
        rest = rest[field.endIndex...]
        return Array(field)
    }

    mutating func nextText() -> String? { next().map { String(decoding: $0, as: UTF8.self) } }

    /// Whether isspace(3) says so.
    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
}
