import BlockStorage

/// The header of a metadata area (`mda_header` of lvm2's `format_text/layout.h`) and the text it points to.
struct LVMMetadataHeader {
    /// The size of the header, which is also where the text's ring begins.
    static let length = 512
    /// The longest text that is read: some ten thousand logical volumes.
    static let maximumTextLength = 4 << 20
    private static let firstLocation = 40

    /// Where the text is on the disk: one range, or two when it wraps; empty when the area holds none.
    let textRanges: [ByteRange]
    /// The checksum of the text.
    let textChecksum: UInt32
    /// Whether lvm was told to leave this area alone.
    let isIgnored: Bool

    /// Reads the header in the first 512 bytes of `area`, both in bytes of the disk.
    ///
    /// `origin` is where the physical volume begins: the header counts from there.
    init(parsing header: [UInt8], area: ByteRange, origin: Int) throws(VolumeProblem) {
        func problem(_ message: String) -> VolumeProblem {
            VolumeProblem(offset: area.offset, message: "LVM2 metadata area: " + message)
        }
        guard header.count >= Self.length, header.hasASCII(" LVM2 x[5A%r0N*>", at: 4) else {
            throw problem("the signature LVM2 x[5A%r0N*> is missing")
        }
        let stored = header.littleEndian(UInt32.self, at: 0)
        let computed = LVMChecksum.of(header[4..<Self.length])
        guard stored == computed else {
            throw problem("header checksum \(stored.hexadecimal), expected \(computed.hexadecimal)")
        }
        let version = header.littleEndian(UInt32.self, at: 20)
        guard version == 1 else { throw problem("version \(version), expected 1") }
        let start = header.littleEndian(UInt64.self, at: 24)
        guard start == UInt64(area.offset - origin) else {
            throw problem("says that it starts at \(start) of its physical volume, expected \(area.offset - origin)")
        }
        let size = header.littleEndian(UInt64.self, at: 32)
        guard size > UInt64(Self.length), size <= UInt64(area.length) else {
            throw problem("size \(size), expected more than \(Self.length) and at most \(area.length)")
        }
        let offset = header.littleEndian(UInt64.self, at: Self.firstLocation)
        let textLength = header.littleEndian(UInt64.self, at: Self.firstLocation + 8)
        textChecksum = header.littleEndian(at: Self.firstLocation + 16)
        isIgnored = header.littleEndian(UInt32.self, at: Self.firstLocation + 20) & 1 != 0
        guard offset != 0, textLength != 0, !isIgnored else {
            textRanges = []
            return
        }
        guard offset >= UInt64(Self.length), offset < size else {
            throw problem("text at \(offset) of the area, expected from \(Self.length) to before \(size)")
        }
        guard textLength <= size - UInt64(Self.length), textLength <= UInt64(Self.maximumTextLength) else {
            throw problem(
                "text of \(textLength) bytes, expected at most \(min(Int(size) - Self.length, Self.maximumTextLength))")
        }
        let untilEnd = min(Int(textLength), Int(size - offset))
        let first = ByteRange(offset: area.offset + Int(offset), length: untilEnd)
        let rest = ByteRange(offset: area.offset + Self.length, length: Int(textLength) - untilEnd)
        textRanges = rest.isEmpty ? [first] : [first, rest]
    }
}
