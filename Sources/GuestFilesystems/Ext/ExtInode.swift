import BlockStorage

/// An inode of an ext file system, as far as classification needs it.
///
/// Source: `Documentation/filesystems/ext4/inodes.rst`.
public struct ExtInode: Sendable {
    /// What an inode stands for (the top four bits of `i_mode`).
    public enum Kind: UInt16, Sendable {
        /// No known kind; inodes not in use have it.
        case none = 0
        /// A named pipe.
        case pipe = 0x1
        /// A character device.
        case characterDevice = 0x2
        /// A directory.
        case directory = 0x4
        /// A block device.
        case blockDevice = 0x6
        /// A regular file.
        case regular = 0x8
        /// A symbolic link.
        case symbolicLink = 0xA
        /// A socket.
        case socket = 0xC
    }

    /// How an inode's blocks are found.
    public enum Mapping: Hashable, Sendable {
        /// It has none: a device, an empty or inline file, a symbolic link within its inode.
        case none
        /// Twelve direct pointers and three trees of indirect blocks.
        case indirect
        /// An extent tree whose root is in the inode.
        case extents
    }

    /// `i_flags`.
    public struct Flags: OptionSet, Hashable, Sendable {
        /// The field as it is on disk.
        public let rawValue: UInt32

        /// The flags of a raw `i_flags`.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// The contents are encrypted; of a directory the names, of a symbolic link the target.
        public static let encrypted = Self(rawValue: 0x800)
        /// The directory has a hash tree.
        public static let hashTree = Self(rawValue: 0x1000)
        /// The blocks are found by an extent tree.
        public static let extents = Self(rawValue: 0x8_0000)
        /// The inode holds the value of an extended attribute.
        public static let attributeValue = Self(rawValue: 0x20_0000)
        /// The contents are in the inode.
        public static let inlineData = Self(rawValue: 0x1000_0000)
        /// The directory ignores the case of names.
        public static let caseFolded = Self(rawValue: 0x4000_0000)
    }

    /// Well-known inodes.
    public enum Number {
        /// The list of bad blocks.
        public static let badBlocks: UInt32 = 1
        /// The root directory.
        public static let root: UInt32 = 2
        /// The owner of the reserved descriptor blocks.
        public static let resize: UInt32 = 7
        /// The journal, unless the superblock names another.
        public static let journal: UInt32 = 8
    }

    /// Bytes of an inode that are always there; the rest holds attributes and times.
    public static let coreSize = 128
    /// Bytes of `i_block`.
    public static let mapSize = 60

    /// Type and permissions.
    public let mode: UInt16
    /// Links; 0 for an inode not in use, or one that is deleted when it is closed.
    public let linkCount: UInt16
    /// The size in bytes.
    public let size: UInt64
    /// Flags.
    public let flags: Flags
    /// `i_blocks`, in units of 512 bytes or of blocks: whether it is 0 is what counts.
    public let allocated: UInt64
    /// When it was deleted, in seconds since 1970; for an orphan, the next orphan's number.
    public let deletionTime: UInt32
    /// `i_generation`: tells uses of the same number apart.
    public let generation: UInt32
    /// `i_file_acl`, its low half.
    public let attributeBlockLow: UInt32
    /// `i_file_acl`, its high half; counts only with 64-bit block numbers.
    public let attributeBlockHigh: UInt16
    /// `i_block`: pointers, the root of an extent tree, a symbolic link's target or inline data.
    public let map: InlineArray<60, UInt8>

    /// Parses the inode at byte `offset` of `bytes`, which must hold at least 128 bytes from there.
    public init(parsing bytes: RawSpan, at offset: Int = 0) throws(ExtFormatError) {
        guard offset >= 0, offset <= bytes.byteCount, bytes.byteCount - offset >= Self.coreSize else {
            throw ExtFormatError(
                .tooShort, "inode", field: "", offset: 0, found: UInt64(max(bytes.byteCount - offset, 0)),
                expected: "\(Self.coreSize)")
        }
        let mode = bytes.uint16(at: offset)
        self.mode = mode
        let isRegular = mode >> 12 == Kind.regular.rawValue
        let isDirectory = mode >> 12 == Kind.directory.rawValue
        let sizeHigh = isRegular || isDirectory ? UInt64(bytes.uint32(at: offset + 108)) << 32 : 0
        size = UInt64(bytes.uint32(at: offset + 4)) | sizeHigh
        deletionTime = bytes.uint32(at: offset + 20)
        linkCount = bytes.uint16(at: offset + 26)
        allocated = UInt64(bytes.uint32(at: offset + 28)) | UInt64(bytes.uint16(at: offset + 116)) << 32
        flags = Flags(rawValue: bytes.uint32(at: offset + 32))
        generation = bytes.uint32(at: offset + 100)
        attributeBlockLow = bytes.uint32(at: offset + 104)
        attributeBlockHigh = bytes.uint16(at: offset + 118)
        let start = offset + 40
        map = InlineArray { bytes.uint8(at: start + $0) }
    }

    /// What the inode stands for.
    public var kind: Kind { Kind(rawValue: mode >> 12) ?? .none }

    /// The block of extended attributes; 0 when there is none.
    public func attributeBlock(in superblock: ExtSuperblock) -> UInt64 {
        let high = superblock.incompatible.contains(.is64Bit) ? UInt64(attributeBlockHigh) << 32 : 0
        return UInt64(attributeBlockLow) | high
    }

    /// Whether the inode's own bytes say that it is in use; `number` is its number.
    ///
    /// An inode without links is in use while it waits on the list of orphans: then its deletion time is not a time
    /// but the next inode of the list (`e2fsck` tells them apart the same way). Without a journal there is no such
    /// list, and deleted inodes keep their pointers.
    public func isInUse(number: UInt32, in superblock: ExtSuperblock) -> Bool {
        if number < superblock.firstInode { return true }
        if mode == 0 { return false }
        if linkCount > 0 { return true }
        guard superblock.compatible.contains(.hasJournal) else { return false }
        return deletionTime <= superblock.inodeCount
    }

    /// How the blocks of the inode are found; `number` is its number.
    public func mapping(number: UInt32, in superblock: ExtSuperblock) -> Mapping {
        guard !flags.contains(.inlineData) else { return .none }
        switch kind {
        case .regular, .directory: break
        case .symbolicLink where !isFastSymbolicLink(in: superblock): break
        case .none where number < superblock.firstInode: break
        default: return .none
        }
        return flags.contains(.extents) && superblock.incompatible.contains(.extents) ? .extents : .indirect
    }

    /// Whether a symbolic link's target is in the inode itself.
    public func isFastSymbolicLink(in superblock: ExtSuperblock) -> Bool {
        guard kind == .symbolicLink, !flags.contains(.inlineData) else { return false }
        if flags.contains(.attributeValue) { return size > 0 && size < UInt64(Self.mapSize) }
        let clusterSize = superblock.blockSize * superblock.blocksPerCluster
        let forAttributes = attributeBlock(in: superblock) == 0 ? 0 : UInt64(clusterSize / 512)
        return allocated <= forAttributes
    }

    /// The block pointer `index` of `i_block`, 0 to 14: twelve direct, then single, double and triple indirect.
    public func pointer(_ index: Int) -> UInt32 {
        map.span.bytes.uint32(at: index * 4)
    }
}
