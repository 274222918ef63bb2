import BlockStorage

/// The superblock of an ext2, ext3 or ext4 file system: 1,024 bytes, 1,024 bytes into the volume.
///
/// What ``init(parsing:)`` returns is consistent in itself: sizes are powers of two in their range, groups hold
/// what bitmaps of one block can describe, and group and inode counts agree. Whether it fits its volume is asked
/// with ``check(deviceSize:)``. Source: `Documentation/filesystems/ext4/super.rst` of Linux, `ext2_fs.h`.
public struct ExtSuperblock: Hashable, Sendable {
    /// Where the superblock is, in bytes from the start of the volume.
    public static let offset = 1024
    /// Its size in bytes.
    public static let size = 1024
    /// `s_magic`.
    public static let magic: UInt16 = 0xEF53

    /// What the family member is called, as `blkid` tells them apart: by features.
    public enum Kind: String, Sendable, Codable {
        /// No journal, and nothing that ext3 would not know.
        case ext2
        /// A journal, and nothing that ext3 would not know.
        case ext3
        /// Something that ext3 does not know.
        case ext4
    }

    /// The number of inodes; the highest inode number.
    public let inodeCount: UInt32
    /// The number of blocks.
    public let blockCount: UInt64
    /// `s_free_blocks_count`, in blocks. A hint: the kernel updates it lazily.
    public let freeBlockCount: UInt64
    /// `s_free_inodes_count`. A hint: the kernel updates it lazily.
    public let freeInodeCount: UInt32
    /// The block that group 0 starts with: 1 for blocks of 1 KiB (but for bigalloc), otherwise 0.
    public let firstDataBlock: UInt32
    /// Bytes in a block: 1 KiB to 64 KiB.
    public let blockSize: Int
    /// Blocks that one bit of a block bitmap stands for: 1, but for bigalloc.
    public let blocksPerCluster: Int
    /// Blocks in a group (the last may have fewer).
    public let blocksPerGroup: UInt32
    /// Inodes in a group.
    public let inodesPerGroup: UInt32
    /// Bytes in an inode.
    public let inodeSize: Int
    /// The first inode that is not reserved.
    public let firstInode: UInt32
    /// `s_mtime`, the lower half: when it was last mounted for writing, in seconds since 1970; 0 for never.
    public let mountTime: UInt32
    /// `s_state`: 1 clean, 2 errors, 4 orphans are being recovered.
    public let state: UInt16
    /// `s_rev_level`.
    public let revision: UInt32
    /// The group that this copy is in.
    public let ownGroup: UInt16
    /// Features that may be ignored.
    public let compatible: ExtCompatibleFeatures
    /// Features that must be known.
    public let incompatible: ExtIncompatibleFeatures
    /// Features that must be known to write.
    public let readOnlyCompatible: ExtReadOnlyCompatibleFeatures
    /// The UUID's 16 bytes.
    public let uuidBytes: [UInt8]
    /// The volume's label; empty when it has none.
    public let label: String
    /// Where it was last mounted; empty when that is not recorded.
    public let lastMounted: String
    /// Blocks reserved for descriptors behind those in use, in each group with a backup.
    public let reservedDescriptorBlocks: UInt16
    /// The journal's inode; 0 when there is none or it is on another device.
    public let journalInode: UInt32
    /// The UUID of the journal where that is on another device.
    public let journalUUID: String
    /// `s_last_orphan`: the head of the list of inodes to delete.
    public let lastOrphan: UInt32
    /// Bytes in a group descriptor.
    public let descriptorSize: Int
    /// `s_first_meta_bg`: the first descriptor block that is in its meta group.
    public let firstMetaGroup: UInt32
    /// The block for multiple-mount protection; 0 when there is none.
    public let multipleMountProtectionBlock: UInt64
    /// Groups in a flexible group; 1 without flex_bg.
    public let groupsPerFlexibleGroup: UInt32
    /// The groups that hold backups with `sparse_super2`; 0 stands for none.
    public let backupGroups: [UInt32]
    /// The inode of the orphan file; 0 when there is none.
    public let orphanFileInode: UInt32
    /// The inodes that hold quotas, of users, groups and projects; without those that there are not.
    public let quotaInodes: [UInt32]
    /// The value that metadata checksums start with.
    public let checksumSeed: UInt32
    /// `s_encoding`: how names are encoded in directories that ignore case; nil when there are none.
    public let nameEncoding: UInt16?

    /// The number of block groups.
    public let groupCount: Int

    /// Whether a volume holds an ext superblock at all, valid or not: `bytes` are its 1,024 bytes.
    public static func isPresent(in bytes: RawSpan) -> Bool {
        bytes.byteCount >= size && bytes.uint16(at: Field.magic.rawValue) == magic
    }

    /// The UUID of the journal that a volume holds for a file system elsewhere (`journal_dev`); nil for any other volume.
    /// `bytes` are the superblock's, of which the rest means nothing then.
    public static func externalJournal(in bytes: RawSpan) -> String? {
        guard isPresent(in: bytes),
            ExtIncompatibleFeatures(rawValue: bytes.uint32(at: 96)).contains(.journalDevice)
        else { return nil }
        return uuidText(bytes.bytes(in: 104..<120))
    }

    /// Parses and checks the 1,024 bytes of a superblock.
    public init(parsing bytes: RawSpan) throws(ExtFormatError) {
        guard bytes.byteCount >= Self.size else {
            throw ExtFormatError(
                .tooShort, "superblock", field: "", offset: 0, found: UInt64(bytes.byteCount), expected: "1024")
        }
        let magic = bytes.uint16(at: Field.magic.rawValue)
        guard magic == Self.magic else {
            throw ExtFormatError(
                .badMagic, "superblock", field: Field.magic.name, offset: Field.magic.rawValue,
                found: UInt64(magic), expected: "0xef53")
        }
        revision = bytes.uint32(at: 76)
        let isDynamic = revision > 0
        compatible = ExtCompatibleFeatures(rawValue: bytes.uint32(at: 92))
        incompatible = ExtIncompatibleFeatures(rawValue: bytes.uint32(at: 96))
        readOnlyCompatible = ExtReadOnlyCompatibleFeatures(rawValue: bytes.uint32(at: 100))

        let is64Bit = incompatible.contains(.is64Bit)
        func wide(_ low: Int, _ high: Int) -> UInt64 {
            UInt64(bytes.uint32(at: low)) | (is64Bit ? UInt64(bytes.uint32(at: high)) << 32 : 0)
        }
        inodeCount = bytes.uint32(at: Field.inodeCount.rawValue)
        blockCount = wide(Field.blockCount.rawValue, 336)
        freeBlockCount = wide(12, 344)
        freeInodeCount = bytes.uint32(at: 16)
        firstDataBlock = bytes.uint32(at: Field.firstDataBlock.rawValue)
        blocksPerGroup = bytes.uint32(at: Field.blocksPerGroup.rawValue)
        inodesPerGroup = bytes.uint32(at: Field.inodesPerGroup.rawValue)
        mountTime = bytes.uint32(at: 44)
        state = bytes.uint16(at: 58)
        ownGroup = bytes.uint16(at: 90)
        uuidBytes = bytes.bytes(in: 104..<120)
        label = bytes.text(in: 120..<136)
        lastMounted = bytes.text(in: 136..<200)
        reservedDescriptorBlocks = compatible.contains(.resizeInode) ? bytes.uint16(at: 206) : 0
        journalInode = compatible.contains(.hasJournal) ? bytes.uint32(at: 224) : 0
        journalUUID = uuidText(bytes.bytes(in: 208..<224))
        lastOrphan = bytes.uint32(at: 232)
        firstMetaGroup = bytes.uint32(at: 260)
        multipleMountProtectionBlock = incompatible.contains(.multipleMountProtection) ? bytes.uint64(at: 360) : 0
        let flexible = incompatible.contains(.flexibleGroups) ? bytes.uint8(at: 372) : 0
        groupsPerFlexibleGroup = flexible < 32 ? 1 << UInt32(flexible) : 1
        backupGroups = [bytes.uint32(at: 588), bytes.uint32(at: 592)]
        orphanFileInode = compatible.contains(.orphanFile) ? bytes.uint32(at: 640) : 0
        quotaInodes =
            readOnlyCompatible.contains(.quota)
            ? [576, 580, 620].map { bytes.uint32(at: $0) }.filter { $0 != 0 } : []
        checksumSeed =
            incompatible.contains(.checksumSeed)
            ? bytes.uint32(at: 624) : ExtChecksum.crc32c(bytes.extracting(104..<120), seed: ~0)

        nameEncoding = incompatible.contains(.caseFolding) ? bytes.uint16(at: 636) : nil

        blockSize = try Field.logBlockSize.powerOfTwo(in: bytes, shift: 10, allowed: 0...6)
        let hasClusters = readOnlyCompatible.contains(.bigAllocation)
        let clusterSize = try hasClusters ? Field.logClusterSize.powerOfTwo(in: bytes, shift: 10, allowed: 0...20) : 0
        try Field.logClusterSize.check(bytes, !hasClusters || clusterSize >= blockSize, "at least the block size")
        blocksPerCluster = hasClusters ? clusterSize / blockSize : 1
        inodeSize = isDynamic ? Int(bytes.uint16(at: Field.inodeSize.rawValue)) : 128
        firstInode = isDynamic ? bytes.uint32(at: Field.firstInode.rawValue) : 11
        descriptorSize = is64Bit ? Int(bytes.uint16(at: Field.descriptorSize.rawValue)) : 32
        groupCount = try Self.checkedGroupCount(
            bytes, blockCount: blockCount, firstDataBlock: firstDataBlock, blocksPerGroup: blocksPerGroup)
        try check(bytes)
    }

    /// Whether an inode is a file of the file system's own, which no directory names: quotas, or the orphan file.
    public func isBookkeeping(_ inode: UInt32) -> Bool {
        inode == orphanFileInode && inode != 0 || !quotaInodes.isEmpty && quotaInodes.contains(inode)
    }

    /// The family member this is.
    public var kind: Kind {
        let extraIncompatible: ExtIncompatibleFeatures = [.fileType, .needsRecovery, .metaGroups]
        guard incompatible.isSubset(of: extraIncompatible),
            readOnlyCompatible.isSubset(of: ExtReadOnlyCompatibleFeatures.knownToExt3)
        else { return .ext4 }
        return compatible.contains(.hasJournal) ? .ext3 : .ext2
    }

    /// Names of the features without which this library cannot read the file system; empty when it can.
    public var unsupportedFeatures: [String] {
        incompatible.subtracting(.supported).featureNames
    }

    /// The names of all features, as dumpe2fs lists them.
    public var featureNames: [String] {
        compatible.featureNames + incompatible.featureNames + readOnlyCompatible.featureNames
    }

    /// The UUID in its usual notation.
    public var uuid: String {
        uuidText(uuidBytes)
    }

    /// The state in dumpe2fs's words.
    public var stateDescription: String {
        let cleanness = state & 1 != 0 ? "clean" : "not clean"
        let errors = state & 2 != 0 ? " with errors" : ""
        return cleanness + errors + (incompatible.contains(.needsRecovery) ? ", journal needs recovery" : "")
    }

    /// Whether a name in a directory entry is followed by the type of the file.
    public var hasFileTypes: Bool { incompatible.contains(.fileType) }

    /// Whether descriptors tell of bitmaps and inode tables that were never written.
    public var hasGroupFlags: Bool {
        readOnlyCompatible.contains(.groupChecksums) || readOnlyCompatible.contains(.metadataChecksums)
    }
}
