import ExtOracle
import Introspection

/// How the oracle's classes translate to ours: the one place for every judgement.
enum ClassMapping {
    /// What a block of the oracle's class may be to us.
    static func classes(of oracle: OracleClass) -> Set<BlockClass> {
        switch oracle {
        case .free: [.free]
        // Nothing of the file system lies there; a boot loader may, and no structure tells.
        case .boot: [.unknown]
        case .superblock: [.superblock]
        // Blocks kept for the descriptors' growth count as descriptors, as the kernel documents them together.
        case .groupDescriptor: [.groupDescriptor]
        case .blockBitmap: [.blockBitmap]
        case .inodeBitmap: [.inodeBitmap]
        case .inodeTable: [.inodeTable]
        // It guards the superblock, is written as often as the mount lives, and has no class of its own.
        case .mountProtection: [.superblock]
        case .directory: [.directory]
        // Also the journal's and the resize inode's own mapping blocks: what a block is goes before whose it is.
        case .indirect: [.indirect]
        // A value that fills an inode is an attribute outside the inode, too.
        case .extendedAttribute: [.extendedAttribute]
        case .journal: [.journal]
        case .symlink: [.symlink]
        // Whether a file serves the boot is more than libext2fs can tell.
        case .data: [.data, .bootFile]
        case .bookkeeping: [.metadata]
        // In use, so that nobody gives them away, and not read.
        case .bad: [.data]
        // The rest of a cluster is in use with the part that a file has.
        case .unclaimed: [.data]
        }
    }

    /// Whether we may say that `block` belongs to `owner`, nil being nobody.
    static func isOwner(_ owner: UInt64?, of block: Int, in oracle: ExtOracle) -> Bool {
        switch oracle.classes[block] {
        // The resize inode maps reserved descriptors, but nobody owns a fixed structure.
        case .groupDescriptor: owner == nil
        default: oracle.isOwner(UInt32(clamping: owner ?? 0), of: block)
        }
    }

    /// What may lie on a disk outside of its file systems.
    static let outsideFileSystems: Set<BlockClass> = [.imageFormat, .partitionTable, .lvmMetadata, .unknown]
}
