/// Features of an ext file system that any implementation may ignore (`s_feature_compat`).
///
/// Names are those that mke2fs and dumpe2fs use. Source: `ext2_fs.h` of e2fsprogs.
public struct ExtCompatibleFeatures: OptionSet, Hashable, Sendable {
    /// The field as it is on disk.
    public let rawValue: UInt32

    /// The features of a raw `s_feature_compat`.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The file system has a journal.
    public static let hasJournal = Self(rawValue: 0x4)
    /// Group descriptor blocks are reserved for growth, and inode 7 owns them.
    public static let resizeInode = Self(rawValue: 0x10)
    /// Directories may have a hash tree.
    public static let directoryIndex = Self(rawValue: 0x20)
    /// Backups are in two groups only, which the superblock names.
    public static let sparseSuper2 = Self(rawValue: 0x200)
    /// The journal may hold fast commits.
    public static let fastCommit = Self(rawValue: 0x400)
    /// Orphans are kept in a file of their own.
    public static let orphanFile = Self(rawValue: 0x1000)

    static let names: [(UInt32, String)] = [
        (0x1, "dir_prealloc"), (0x2, "imagic_inodes"), (0x4, "has_journal"), (0x8, "ext_attr"),
        (0x10, "resize_inode"), (0x20, "dir_index"), (0x40, "lazy_bg"), (0x80, "exclude_bitmap"),
        (0x200, "sparse_super2"), (0x400, "fast_commit"), (0x800, "stable_inodes"), (0x1000, "orphan_file"),
    ]

    /// The names of the features, unknown ones as `FEATURE_C` and the bit number.
    public var featureNames: [String] { listNames(of: rawValue, in: Self.names, unknownPrefix: "FEATURE_C") }
}

/// Features of an ext file system that a reader must know to read it (`s_feature_incompat`).
public struct ExtIncompatibleFeatures: OptionSet, Hashable, Sendable {
    /// The field as it is on disk.
    public let rawValue: UInt32

    /// The features of a raw `s_feature_incompat`.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Directory entries carry the type of the file.
    public static let fileType = Self(rawValue: 0x2)
    /// The journal holds transactions that are not in place yet.
    public static let needsRecovery = Self(rawValue: 0x4)
    /// This is a journal for another file system, and holds no files.
    public static let journalDevice = Self(rawValue: 0x8)
    /// Group descriptors are spread over meta groups.
    public static let metaGroups = Self(rawValue: 0x10)
    /// Files may be mapped by extent trees.
    public static let extents = Self(rawValue: 0x40)
    /// Block numbers have 64 bits.
    public static let is64Bit = Self(rawValue: 0x80)
    /// A block guards against mounting twice.
    public static let multipleMountProtection = Self(rawValue: 0x100)
    /// A group's bitmaps and inode table may be in another group.
    public static let flexibleGroups = Self(rawValue: 0x200)
    /// Extended attributes may have their values in inodes.
    public static let attributeInodes = Self(rawValue: 0x400)
    /// The checksum seed is in the superblock.
    public static let checksumSeed = Self(rawValue: 0x2000)
    /// Directories may exceed 2 GiB or have a hash tree of three levels.
    public static let largeDirectories = Self(rawValue: 0x4000)
    /// Small files and directories may be in their inode.
    public static let inlineData = Self(rawValue: 0x8000)
    /// Files and names may be encrypted.
    public static let encryption = Self(rawValue: 0x10000)
    /// Directories may ignore the case of names.
    public static let caseFolding = Self(rawValue: 0x20000)

    /// What this library reads.
    public static let supported: Self = [
        .fileType, .needsRecovery, .metaGroups, .extents, .is64Bit, .multipleMountProtection, .flexibleGroups,
        .attributeInodes, .checksumSeed, .largeDirectories, .inlineData, .encryption, .caseFolding,
    ]

    static let names: [(UInt32, String)] = [
        (0x1, "compression"), (0x2, "filetype"), (0x4, "needs_recovery"), (0x8, "journal_dev"), (0x10, "meta_bg"),
        (0x40, "extent"), (0x80, "64bit"), (0x100, "mmp"), (0x200, "flex_bg"), (0x400, "ea_inode"),
        (0x1000, "dirdata"), (0x2000, "metadata_csum_seed"), (0x4000, "large_dir"), (0x8000, "inline_data"),
        (0x10000, "encrypt"), (0x20000, "casefold"),
    ]

    /// The names of the features, unknown ones as `FEATURE_I` and the bit number.
    public var featureNames: [String] { listNames(of: rawValue, in: Self.names, unknownPrefix: "FEATURE_I") }
}

/// Features of an ext file system that a writer must know to write it (`s_feature_ro_compat`).
public struct ExtReadOnlyCompatibleFeatures: OptionSet, Hashable, Sendable {
    /// The field as it is on disk.
    public let rawValue: UInt32

    /// The features of a raw `s_feature_ro_compat`.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Only some groups hold backups of superblock and descriptors.
    public static let sparseSuper = Self(rawValue: 0x1)
    /// Files may exceed 2 GiB.
    public static let largeFile = Self(rawValue: 0x2)
    /// Group descriptors have a CRC-16 and tell which bitmaps and inode tables were never written.
    public static let groupChecksums = Self(rawValue: 0x10)
    /// Quotas are kept in inodes that the superblock names.
    public static let quota = Self(rawValue: 0x100)
    /// Space is allocated in clusters of several blocks.
    public static let bigAllocation = Self(rawValue: 0x200)
    /// All metadata has a CRC-32C.
    public static let metadataChecksums = Self(rawValue: 0x400)
    /// Files may share blocks; the file system is read-only.
    public static let sharedBlocks = Self(rawValue: 0x4000)

    /// Features that ext3 knows as well as ext4.
    static let knownToExt3: Self = [.sparseSuper, .largeFile, Self(rawValue: 0x4)]

    static let names: [(UInt32, String)] = [
        (0x1, "sparse_super"), (0x2, "large_file"), (0x4, "btree_dir"), (0x8, "huge_file"), (0x10, "uninit_bg"),
        (0x20, "dir_nlink"), (0x40, "extra_isize"), (0x80, "snapshot"), (0x100, "quota"), (0x200, "bigalloc"),
        (0x400, "metadata_csum"), (0x800, "replica"), (0x1000, "read-only"), (0x2000, "project"),
        (0x4000, "shared_blocks"), (0x8000, "verity"), (0x10000, "orphan_present"),
    ]

    /// The names of the features, unknown ones as `FEATURE_R` and the bit number.
    public var featureNames: [String] { listNames(of: rawValue, in: Self.names, unknownPrefix: "FEATURE_R") }
}

private func listNames(of bits: UInt32, in table: [(UInt32, String)], unknownPrefix: String) -> [String] {
    (0..<32).filter { bits & (1 << UInt32($0)) != 0 }.map { number in
        table.first { $0.0 == 1 << UInt32(number) }?.1 ?? "\(unknownPrefix)\(number)"
    }
}
