/// What a block of a virtual disk is.
///
/// The raw value is stable: it is stored in saved maps and in the records of the redirect log.
public enum BlockClass: UInt8, CaseIterable, Sendable, Codable {
    /// The image format's own structures: headers, descriptors, block maps.
    case imageFormat
    /// MBR, EBR or GPT, backups included.
    case partitionTable
    /// LVM2 label and metadata area.
    case lvmMetadata
    /// A superblock of a guest file system, or a backup of it.
    case superblock
    /// Block group descriptors, their backups and the blocks reserved for their growth.
    case groupDescriptor
    /// A block bitmap.
    case blockBitmap
    /// An inode bitmap.
    case inodeBitmap
    /// An inode table.
    case inodeTable
    /// A directory, its hash-tree nodes included.
    case directory
    /// An indirect block or a node of an extent tree.
    case indirect
    /// Extended attributes outside the inode.
    case extendedAttribute
    /// The journal of a guest file system.
    case journal
    /// The target of a symbolic link that does not fit its inode.
    case symlink
    /// A file that the guest reads while it boots.
    case bootFile
    /// Contents of a file.
    case data
    /// Not allocated.
    case free
    /// Written, and not claimed by any structure yet.
    case pending
    /// Not understood: outside every file system, or in one of an unknown kind.
    case unknown
    /// Metadata of no other kind: what the journal of its file system names and nothing claims yet, quotas, and the list
    /// of orphans.
    case metadata

    /// The name that reports use.
    public var name: String {
        switch self {
        case .imageFormat: "image-format"
        case .partitionTable: "partition-table"
        case .lvmMetadata: "lvm-metadata"
        case .superblock: "superblock"
        case .groupDescriptor: "group-descriptor"
        case .blockBitmap: "block-bitmap"
        case .inodeBitmap: "inode-bitmap"
        case .inodeTable: "inode-table"
        case .directory: "directory"
        case .indirect: "indirect"
        case .extendedAttribute: "extended-attribute"
        case .journal: "journal"
        case .symlink: "symlink"
        case .bootFile: "boot-file"
        case .data: "data"
        case .free: "free"
        case .pending: "pending"
        case .unknown: "unknown"
        case .metadata: "metadata"
        }
    }

    /// Whether the block describes other blocks or files rather than holding a file's contents.
    public var isMetadata: Bool {
        switch self {
        case .bootFile, .data, .free, .pending, .unknown: false
        default: true
        }
    }
}
