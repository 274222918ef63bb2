/// Consecutive blocks of a guest file system that are metadata of one class and belong to one inode.
public struct MetadataRun: Hashable, Sendable {
    /// The first block, counted from the start of the file system in blocks of its own size.
    public var block: UInt64
    /// The number of blocks, at least 1.
    public var count: UInt32
    /// What the blocks are.
    public var blockClass: BlockClass
    /// For ``BlockClass/indirect``, how many steps lie between the block and the blocks it is there for: 1 for an
    /// indirect block and for a leaf of an extent tree, 2 for a double indirect block and for an extent-tree node
    /// of depth 1, and so on (an extent node's `eh_depth` plus 1; 6 at most). 0 for every other class.
    public var level: UInt8
    /// The inode number; 0 for the file system's fixed structures.
    public var owner: UInt32
    /// Whether what is in the blocks decides the class of other blocks, so that a write to them must be digested:
    /// so it is for indirect blocks of level 2 and above, and for every indirect block of an inode whose contents
    /// are metadata themselves, such as a directory.
    public var pointsAtMetadata: Bool
    /// Whether other inodes may have the block, too: a block of extended attributes that an inode names beside its
    /// contents. The values of attributes that are inodes of their own (`ea_inode`) belong to these alone.
    public var isShared: Bool

    /// A run of `count` blocks from `block`; unless told otherwise, an indirect block of level 1 points at data.
    public init(
        block: UInt64, count: UInt32, blockClass: BlockClass, level: UInt8 = 0, owner: UInt32 = 0,
        pointsAtMetadata: Bool? = nil, isShared: Bool = false
    ) {
        self.block = block
        self.count = count
        self.blockClass = blockClass
        self.level = level
        self.owner = owner
        self.pointsAtMetadata = pointsAtMetadata ?? (blockClass == .indirect && level >= 2)
        self.isShared = isShared
    }

    /// The first block after the run.
    var end: UInt64 { block + UInt64(count) }
}
