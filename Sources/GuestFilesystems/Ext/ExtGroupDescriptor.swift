import BlockStorage

/// The descriptor of a block group: where its bitmaps and inode table are, and what was ever used of them.
///
/// The numbers are as they are on disk and may point anywhere: ``ExtGeometry`` tells whether they make sense.
/// Source: `Documentation/filesystems/ext4/group_descr.rst`.
public struct ExtGroupDescriptor: Hashable, Sendable {
    /// What was never written (`bg_flags`).
    public struct Flags: OptionSet, Hashable, Sendable {
        /// The field as it is on disk.
        public let rawValue: UInt16

        /// The flags of a raw `bg_flags`.
        public init(rawValue: UInt16) { self.rawValue = rawValue }

        /// Inode bitmap and inode table were never written: the group has no inodes in use.
        public static let inodesUninitialized = Self(rawValue: 1)
        /// The block bitmap was never written: only the group's own structures are in use.
        public static let blocksUninitialized = Self(rawValue: 2)
        /// The inode table is zeroed where it is not in use.
        public static let inodeTableZeroed = Self(rawValue: 4)
    }

    /// The block of the block bitmap.
    public let blockBitmap: UInt64
    /// The block of the inode bitmap.
    public let inodeBitmap: UInt64
    /// The first block of the inode table.
    public let inodeTable: UInt64
    /// Free blocks (clusters with bigalloc).
    public let freeBlockCount: UInt32
    /// Free inodes.
    public let freeInodeCount: UInt32
    /// Directories.
    public let directoryCount: UInt32
    /// What was never written; may be emptied where the checksum is wrong.
    public var flags: Flags
    /// Inodes at the end of the table that were never used.
    public let unusedInodeCount: UInt32
    /// `bg_checksum`.
    public let checksum: UInt16

    /// A descriptor that places nothing, for one that cannot be read.
    public init() {
        (blockBitmap, inodeBitmap, inodeTable) = (0, 0, 0)
        (freeBlockCount, freeInodeCount, directoryCount, unusedInodeCount) = (0, 0, 0, 0)
        flags = []
        checksum = 0
    }

    /// Parses a descriptor of `size` bytes (32, or 64 and more with 64-bit numbers) at byte `offset` of `bytes`.
    public init(parsing bytes: RawSpan, at offset: Int = 0, size: Int) throws(ExtFormatError) {
        guard size >= 32, offset >= 0, offset <= bytes.byteCount, bytes.byteCount - offset >= size else {
            throw ExtFormatError(
                .tooShort, "group descriptor", field: "", offset: 0,
                found: UInt64(max(bytes.byteCount - offset, 0)), expected: "\(size)")
        }
        let isWide = size >= 64
        func block(_ low: Int, _ high: Int) -> UInt64 {
            UInt64(bytes.uint32(at: offset + low)) | (isWide ? UInt64(bytes.uint32(at: offset + high)) << 32 : 0)
        }
        func count(_ low: Int, _ high: Int) -> UInt32 {
            UInt32(bytes.uint16(at: offset + low)) | (isWide ? UInt32(bytes.uint16(at: offset + high)) << 16 : 0)
        }
        blockBitmap = block(0, 32)
        inodeBitmap = block(4, 36)
        inodeTable = block(8, 40)
        freeBlockCount = count(12, 44)
        freeInodeCount = count(14, 46)
        directoryCount = count(16, 48)
        flags = Flags(rawValue: bytes.uint16(at: offset + 18))
        unusedInodeCount = count(28, 50)
        checksum = bytes.uint16(at: offset + 30)
    }

    /// Whether the checksum of the descriptor at `offset` of `bytes` is right for `group`; true when it has none.
    public static func hasValidChecksum(
        _ bytes: RawSpan, at offset: Int, group: Int, superblock: ExtSuperblock
    ) -> Bool {
        let size = superblock.descriptorSize
        guard offset >= 0, offset <= bytes.byteCount, bytes.byteCount - offset >= size else { return false }
        let stored = bytes.uint16(at: offset + 30)
        let head = bytes.extracting(offset..<offset + 30)
        let tail = bytes.extracting(offset + 32..<offset + size)
        let number = UInt32(truncatingIfNeeded: group)
        if superblock.readOnlyCompatible.contains(.metadataChecksums) {
            var crc = ExtChecksum.crc32c(number, seed: superblock.checksumSeed)
            crc = ExtChecksum.crc32c(head, seed: crc)
            // The checksum's own two bytes count as zero.
            let zero: [UInt8] = [0, 0]
            crc = ExtChecksum.crc32c(zero.span.bytes, seed: crc)
            crc = ExtChecksum.crc32c(tail, seed: crc)
            return UInt16(truncatingIfNeeded: crc) == stored
        }
        if superblock.readOnlyCompatible.contains(.groupChecksums) {
            let uuid = superblock.uuidBytes
            var crc = ExtChecksum.crc16(uuid.span.bytes, seed: ~0)
            crc = ExtChecksum.crc16(number, seed: crc)
            crc = ExtChecksum.crc16(head, seed: crc)
            return ExtChecksum.crc16(tail, seed: crc) == stored
        }
        return true
    }
}
