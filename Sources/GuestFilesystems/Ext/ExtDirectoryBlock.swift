import BlockStorage

/// An entry of a directory.
public struct ExtDirectoryEntry: Hashable, Sendable {
    /// The inode; never 0.
    public let inode: UInt32
    /// The type of the file: 1 regular, 2 directory, 3 and 4 devices, 5 pipe, 6 socket, 7 symbolic link, 0 unknown.
    public let fileType: UInt8
    /// Where the name is in the block.
    public let nameRange: Range<Int>

    /// The type of a directory.
    public static let directoryType: UInt8 = 2

    /// The name in the bytes of the entry's block.
    public func nameBytes(in bytes: RawSpan) -> [UInt8] {
        guard nameRange.upperBound <= bytes.byteCount else { return [] }
        return bytes.bytes(in: nameRange)
    }

    /// The name in the bytes of the entry's block.
    public func name(in bytes: RawSpan) -> ByteString {
        ByteString(nameBytes(in: bytes))
    }
}

/// A block of a directory: entries one after the other, each telling its own length.
///
/// Nodes of a hash tree hide from this format as entries that are not in use, and so does the checksum at the end.
/// Source: `Documentation/filesystems/ext4/directory.rst`.
public enum ExtDirectoryBlock {
    /// Calls `body` with each entry in use, until it returns false.
    ///
    /// Throws at the first entry whose length makes no sense, after the entries before it.
    /// - Parameter hasFileTypes: whether entries carry the type of the file.
    public static func forEachEntry(
        in bytes: RawSpan, hasFileTypes: Bool, _ body: (ExtDirectoryEntry) -> Bool
    ) throws(ExtFormatError) {
        var offset = 0
        while bytes.byteCount - offset >= 8 {
            let inode = bytes.uint32(at: offset)
            let length = recordLength(bytes.uint16(at: offset + 4), blockSize: bytes.byteCount)
            guard length >= 12 || length == bytes.byteCount - offset, length % 4 == 0, length >= 8,
                length <= bytes.byteCount - offset
            else {
                throw ExtFormatError(
                    .badValue, "directory", field: "rec_len", offset: offset + 4, found: UInt64(length),
                    expected: "a multiple of 4 from 12 to \(bytes.byteCount - offset)")
            }
            let nameLength =
                hasFileTypes ? Int(bytes.uint8(at: offset + 6)) : Int(bytes.uint16(at: offset + 6))
            if inode != 0 {
                guard nameLength > 0, nameLength <= length - 8 else {
                    throw ExtFormatError(
                        .badValue, "directory", field: "name_len", offset: offset + 6, found: UInt64(nameLength),
                        expected: "1 to \(length - 8)")
                }
                let entry = ExtDirectoryEntry(
                    inode: inode, fileType: hasFileTypes ? bytes.uint8(at: offset + 7) & 7 : 0,
                    nameRange: offset + 8..<offset + 8 + nameLength)
                guard body(entry) else { return }
            }
            offset += length
        }
    }

    /// A length as it is stored: blocks of 64 KiB do not fit 16 bits.
    private static func recordLength(_ raw: UInt16, blockSize: Int) -> Int {
        guard blockSize >= 65536 else { return Int(raw) }
        if raw == 65535 || raw == 0 { return blockSize }
        return Int(raw & 0xFFFC) | Int(raw & 3) << 16
    }
}
