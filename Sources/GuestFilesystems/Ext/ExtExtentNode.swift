import BlockStorage

/// The header of a node of an extent tree: the root in an inode, or a block.
///
/// Source: `Documentation/filesystems/ext4/ifork.rst`, "Extent Tree".
public struct ExtExtentNode: Hashable, Sendable {
    /// `eh_magic`.
    public static let magic: UInt16 = 0xF30A
    /// The deepest tree that Linux makes: `EXT4_MAX_EXTENT_DEPTH`.
    public static let maximumDepth = 5
    /// Bytes of the header, and of each entry.
    public static let entrySize = 12

    /// Entries in use.
    public let count: Int
    /// Entries that there is room for.
    public let capacity: Int
    /// Levels below this node; 0 for a leaf, whose entries are extents.
    public let depth: Int

    /// Parses and checks the node that fills `bytes`: a block, or the 60 bytes of an inode's map.
    ///
    /// `expectedDepth` is one less than the depth of the node that points here, or nil for a root.
    public init(parsing bytes: RawSpan, expectedDepth: Int? = nil) throws(ExtFormatError) {
        guard bytes.byteCount >= Self.entrySize else {
            throw ExtFormatError(
                .tooShort, "extent node", field: "", offset: 0, found: UInt64(bytes.byteCount), expected: "12")
        }
        let magic = bytes.uint16(at: 0)
        guard magic == Self.magic else {
            throw ExtFormatError(
                .badMagic, "extent node", field: "eh_magic", offset: 0, found: UInt64(magic), expected: "0xf30a")
        }
        count = Int(bytes.uint16(at: 2))
        capacity = Int(bytes.uint16(at: 4))
        depth = Int(bytes.uint16(at: 6))
        let room = bytes.byteCount / Self.entrySize - 1
        guard capacity <= room else {
            throw ExtFormatError(
                .badValue, "extent node", field: "eh_max", offset: 4, found: UInt64(capacity),
                expected: "at most \(room)")
        }
        guard count <= capacity else {
            throw ExtFormatError(
                .badValue, "extent node", field: "eh_entries", offset: 2, found: UInt64(count),
                expected: "at most eh_max (\(capacity))")
        }
        guard depth <= Self.maximumDepth, expectedDepth == nil || depth == expectedDepth else {
            throw ExtFormatError(
                .badValue, "extent node", field: "eh_depth", offset: 6, found: UInt64(depth),
                expected: expectedDepth.map { "\($0)" } ?? "at most \(Self.maximumDepth)")
        }
    }

    /// Calls `body` with each extent of a leaf; `bytes` are those that the node was parsed from.
    public func forEachExtent(in bytes: RawSpan, _ body: (ExtExtent) -> Void) {
        guard depth == 0 else { return }
        for index in 0..<count {
            let offset = (index + 1) * Self.entrySize
            guard offset + Self.entrySize <= bytes.byteCount else { return }
            body(ExtExtent(entry: bytes, at: offset))
        }
    }

    /// Calls `body` with each child of an index node: its first logical block and the block it is in.
    public func forEachChild(in bytes: RawSpan, _ body: (_ logicalBlock: UInt32, _ block: UInt64) -> Void) {
        guard depth > 0 else { return }
        for index in 0..<count {
            let offset = (index + 1) * Self.entrySize
            guard offset + Self.entrySize <= bytes.byteCount else { return }
            body(
                bytes.uint32(at: offset),
                UInt64(bytes.uint32(at: offset + 4)) | UInt64(bytes.uint16(at: offset + 8)) << 32)
        }
    }
}

/// Consecutive blocks of a file that are consecutive on disk.
public struct ExtExtent: Hashable, Sendable {
    /// The longest written extent, in blocks; a greater raw length marks one that was allocated and never written.
    static let maximumLength: UInt16 = 32768

    /// The first block of the file.
    public let logicalBlock: UInt32
    /// The number of blocks; a hostile extent may have 0.
    public let length: UInt32
    /// The first block on disk; it may point anywhere.
    public let block: UInt64
    /// Whether the blocks hold data; otherwise they are allocated and read as zero.
    public let isWritten: Bool
}

extension ExtExtent {
    /// The extent in the 12 bytes at `offset`, which are there.
    init(entry bytes: RawSpan, at offset: Int) {
        let rawLength = bytes.uint16(at: offset + 4)
        isWritten = rawLength <= Self.maximumLength
        logicalBlock = bytes.uint32(at: offset)
        length = UInt32(isWritten ? rawLength : rawLength - Self.maximumLength)
        block = UInt64(bytes.uint32(at: offset + 8)) | UInt64(bytes.uint16(at: offset + 6)) << 32
    }
}
