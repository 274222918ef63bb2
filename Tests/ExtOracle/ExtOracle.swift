/// What a block of an ext2/3/4 file system is, as far as libext2fs can tell.
public enum OracleClass: UInt8, Sendable {
    /// Nothing: the block is not allocated.
    case free
    /// Block 0 where the superblock lies in block 1: room for a boot loader, outside every group.
    case boot
    /// The superblock or a backup of it.
    case superblock
    /// Group descriptors, their backups, and the blocks that the resize inode keeps for their growth.
    case groupDescriptor
    /// A group's block bitmap.
    case blockBitmap
    /// A group's inode bitmap.
    case inodeBitmap
    /// A piece of a group's inode table.
    case inodeTable
    /// The block of the multiple-mount protection.
    case mountProtection
    /// Contents of a directory, index nodes included.
    case directory
    /// A block that maps an inode's others: indirect, or a node of an extent tree below the inode.
    case indirect
    /// An inode's attribute block, or contents of an inode that holds one large value.
    case extendedAttribute
    /// Contents of the journal's inode.
    case journal
    /// Target of a symbolic link.
    case symlink
    /// Contents of any other inode: files.
    case data
    /// Contents of an inode that no directory names and the superblock does: quotas, the orphan file.
    case bookkeeping
    /// A block that inode 1 lists as bad.
    case bad
    /// Allocated, and claimed by no structure and no inode: the unused part of a cluster.
    case unclaimed
}

/// Every block of one file system, classified by libext2fs alone.
///
/// Fixed structures are where `ext2fs_super_and_bgd_loc2` and the descriptors' locations put them; what inodes own
/// comes from `ext2fs_block_iterate3`, which reports mapping blocks with a negative count; free is what the block
/// bitmap says, groups without an initialised bitmap included. No code of this project takes part.
public struct ExtOracle: Sendable {
    /// Bytes in a block.
    public let blockSize: Int
    /// The class of each block.
    public internal(set) var classes: [OracleClass]
    /// The inode that owns each block, 0 for none. The lowest when several share it.
    public internal(set) var owners: [UInt32]
    /// All owners of the blocks that several inodes share: attribute blocks.
    public internal(set) var sharedOwners: [Int: Set<UInt32>] = [:]

    init(blockSize: Int, blockCount: Int) {
        self.blockSize = blockSize
        classes = Array(repeating: .free, count: blockCount)
        owners = Array(repeating: 0, count: blockCount)
    }

    /// Whether `inode` may be named as the owner of `block`.
    public func isOwner(_ inode: UInt32, of block: Int) -> Bool {
        owners[block] == inode || sharedOwners[block]?.contains(inode) == true
    }
}

/// Why the oracle gave no answer.
public struct OracleError: Error, CustomStringConvertible {
    /// What failed, with libext2fs's own words.
    public let description: String
}
