import BlockStorage

/// Contents that an inode holds itself: the first 60 bytes in `i_block`, the rest as the extended attribute
/// `system.data` behind the inode's fields.
///
/// Source: `Documentation/filesystems/ext4/inlinedata.rst` and `attributes.rst`.
public struct ExtInlineData: Sendable {
    /// What `i_block` holds of them.
    public let head: [UInt8]
    /// What the attribute holds of them.
    public let rest: [UInt8]

    private static let attributeMagic: UInt32 = 0xEA02_0000
    private static let entryHeaderSize = 16
    /// `EXT4_XATTR_INDEX_SYSTEM`.
    private static let systemNameIndex: UInt8 = 7
    private static let mapOffset = 40

    /// The inline contents of the inode that fills `bytes`; nil when the inode is too short to have any, or what it
    /// says of its attributes makes no sense.
    public init?(ofInode bytes: RawSpan) {
        guard bytes.byteCount >= ExtInode.coreSize else { return nil }
        head = bytes.bytes(in: Self.mapOffset..<Self.mapOffset + ExtInode.mapSize)
        guard let range = Self.attribute(in: bytes) else { return nil }
        rest = bytes.bytes(in: range)
    }

    /// Where the value of `system.data` is; empty when there is no such attribute.
    private static func attribute(in bytes: RawSpan) -> Range<Int>? {
        let none = 0..<0
        guard bytes.byteCount >= ExtInode.coreSize + 4 else { return none }
        let header = ExtInode.coreSize + Int(bytes.uint16(at: ExtInode.coreSize))
        guard header <= bytes.byteCount - 4 else { return nil }
        guard bytes.uint32(at: header) == attributeMagic else { return none }
        let first = header + 4
        var entry = first
        while entry <= bytes.byteCount - entryHeaderSize, bytes.uint32(at: entry) != 0 {
            let nameLength = Int(bytes.uint8(at: entry))
            let name = entry + entryHeaderSize
            guard nameLength <= bytes.byteCount - name else { return nil }
            if bytes.uint8(at: entry + 1) == systemNameIndex,
                bytes.bytes(in: name..<name + nameLength) == Array("data".utf8)
            {
                let start = first + Int(bytes.uint16(at: entry + 2))
                let length = Int(bytes.uint32(at: entry + 8))
                guard start <= bytes.byteCount, length <= bytes.byteCount - start else { return nil }
                return start..<start + length
            }
            entry = name + (nameLength + 3) / 4 * 4
        }
        return none
    }
}
