import GuestFilesystems

/// What an inode in use asks of the scan: what its blocks are and how they are found.
struct ExtInodeRole: Sendable {
    /// The inode's number.
    let number: UInt32
    /// What the blocks are that hold the inode's contents.
    let contents: BlockClass
    /// How they are found.
    let mapping: ExtInode.Mapping
    /// The block of extended attributes; nil when there is none.
    let attributeBlock: UInt64?

    /// The role of `inode`, or nil when it is not in use.
    init?(_ inode: ExtInode, number: UInt32, superblock: ExtSuperblock) {
        guard inode.isInUse(number: number, in: superblock) else { return nil }
        self.number = number
        mapping = inode.mapping(number: number, in: superblock)
        let block = inode.attributeBlock(in: superblock)
        attributeBlock = block == 0 || inode.kind == .none ? nil : block
        contents =
            switch number {
            case ExtInode.Number.resize where superblock.compatible.contains(.resizeInode): .groupDescriptor
            case superblock.journalInode: .journal
            // Linux refuses such an inode in a file system without the feature.
            case _ where superblock.incompatible.contains(.attributeInodes) && inode.flags.contains(.attributeValue):
                .extendedAttribute
            // Quotas and orphans, which no directory names: the file system's own books.
            case _ where superblock.isBookkeeping(number): .metadata
            default:
                switch inode.kind {
                case .directory: .directory
                case .symbolicLink: .symlink
                default: .data
                }
            }
    }
}

/// Blocks that an inode, or a node of its block tree, points at.
struct ExtBlockRun: Hashable, Sendable {
    /// The first block; the run lies inside the file system.
    var block: UInt64
    /// The number of blocks; 1 for a node.
    var count: UInt32
    /// The first block's place in the file, in blocks.
    var logicalBlock: UInt64
    /// 0 for contents, otherwise the level of a node as in ``MetadataRun/level``.
    var level: UInt8
    /// Whether the blocks were written; others are allocated and read as zeros.
    var isWritten = true
}

/// What was wrong with pointers and nodes that were followed.
struct ExtTreeFaults: Sendable {
    /// Pointers to blocks outside the file system.
    private(set) var pointersOutside = 0
    /// That of the lowest inode number, whichever thread comes upon it.
    private(set) var firstPointerOutside: (inode: UInt32, block: UInt64)?
    /// Nodes of extent trees that are none.
    private(set) var badNodes = 0
    /// As ``firstPointerOutside``, with what was wrong.
    private(set) var firstBadNode: (inode: UInt32, error: ExtFormatError)?

    mutating func add(_ other: Self) {
        if let (inode, block) = other.firstPointerOutside {
            notePointer(of: inode, to: block, count: other.pointersOutside)
        }
        if let (inode, error) = other.firstBadNode { noteNode(of: inode, error, count: other.badNodes) }
    }

    /// Counts pointers outside the file system, of which that of `inode` to `block` comes first.
    mutating func notePointer(of inode: UInt32, to block: UInt64, count: Int = 1) {
        pointersOutside += count
        if let first = firstPointerOutside, first <= (inode, block) { return }
        firstPointerOutside = (inode, block)
    }

    /// Counts bad nodes, of which that of `inode` comes first.
    mutating func noteNode(of inode: UInt32, _ error: ExtFormatError, count: Int = 1) {
        badNodes += count
        if let first = firstBadNode, first.inode < inode || first.inode == inode && "\(first.error)" <= "\(error)" {
            return
        }
        firstBadNode = (inode, error)
    }
}

/// Follows the block trees of inodes one step at a time: both kinds, from the inode down.
struct ExtBlockTree {
    /// The file system's geometry.
    let geometry: ExtGeometry
    /// What was wrong so far.
    private(set) var faults = ExtTreeFaults()

    init(geometry: ExtGeometry) {
        self.geometry = geometry
    }

    /// Calls `body` with what `inode` itself points at, its extended attributes excepted.
    mutating func forEachRoot(
        of inode: ExtInode, _ role: ExtInodeRole, _ body: (ExtBlockRun) -> Void
    ) {
        switch role.mapping {
        case .none:
            return
        case .extents:
            let map = inode.map
            forEachEntry(in: map.span.bytes, expectedDepth: nil, inode: role.number, body)
        case .indirect:
            var pending: ExtBlockRun?
            for index in 0..<ExtIndirectBlock.directCount {
                append(inode.pointer(index), at: UInt64(index), to: &pending, inode: role.number, body)
            }
            if let pending { body(pending) }
            for index in ExtIndirectBlock.directCount..<ExtIndirectBlock.directCount + ExtIndirectBlock.maximumLevel {
                let block = UInt64(inode.pointer(index))
                guard block != 0, isInside(block, count: 1, inode: role.number) else { continue }
                let root = ExtIndirectBlock.root(index, blockSize: geometry.blockSize)
                body(
                    ExtBlockRun(block: block, count: 1, logicalBlock: root.logicalBlock, level: UInt8(root.level)))
            }
        }
    }

    /// Calls `body` with what the node in `bytes` points at: a block at `level` that starts at `logicalBlock` of
    /// the file of `inode`.
    mutating func forEachChild(
        in bytes: RawSpan, level: UInt8, logicalBlock: UInt64, mapping: ExtInode.Mapping, inode: UInt32,
        _ body: (ExtBlockRun) -> Void
    ) {
        guard level > 0 else { return }
        if mapping == .extents {
            return forEachEntry(in: bytes, expectedDepth: Int(level) - 1, inode: inode, body)
        }
        let span = ExtIndirectBlock.span(level: Int(level) - 1, blockSize: geometry.blockSize)
        var pending: ExtBlockRun?
        ExtIndirectBlock.forEachPointer(in: bytes) { index, block in
            let place = logicalBlock + UInt64(index) * span
            if level == 1 {
                append(block, at: place, to: &pending, inode: inode, body)
            } else if isInside(UInt64(block), count: 1, inode: inode) {
                body(ExtBlockRun(block: UInt64(block), count: 1, logicalBlock: place, level: level - 1))
            }
        }
        if let pending { body(pending) }
    }

    private mutating func forEachEntry(
        in bytes: RawSpan, expectedDepth: Int?, inode: UInt32, _ body: (ExtBlockRun) -> Void
    ) {
        let node: ExtExtentNode
        do throws(ExtFormatError) {
            node = try ExtExtentNode(parsing: bytes, expectedDepth: expectedDepth)
        } catch {
            return faults.noteNode(of: inode, error)
        }
        node.forEachExtent(in: bytes) { extent in
            guard extent.length > 0, isInside(extent.block, count: extent.length, inode: inode) else { return }
            body(
                ExtBlockRun(
                    block: extent.block, count: extent.length, logicalBlock: UInt64(extent.logicalBlock), level: 0,
                    isWritten: extent.isWritten))
        }
        node.forEachChild(in: bytes) { logicalBlock, block in
            guard isInside(block, count: 1, inode: inode) else { return }
            body(ExtBlockRun(block: block, count: 1, logicalBlock: UInt64(logicalBlock), level: UInt8(node.depth)))
        }
    }

    /// Adds a pointer to contents to the run before it, or ends that and starts another.
    private mutating func append(
        _ block: UInt32, at logicalBlock: UInt64, to pending: inout ExtBlockRun?, inode: UInt32,
        _ body: (ExtBlockRun) -> Void
    ) {
        guard block != 0, isInside(UInt64(block), count: 1, inode: inode) else { return }
        if let run = pending {
            if run.block + UInt64(run.count) == UInt64(block), run.logicalBlock + UInt64(run.count) == logicalBlock {
                pending?.count += 1
                return
            }
            body(run)
        }
        pending = ExtBlockRun(block: UInt64(block), count: 1, logicalBlock: logicalBlock, level: 0)
    }

    /// Whether `count` blocks from `block` are inside the file system; counts it as a fault when not.
    private mutating func isInside(_ block: UInt64, count: UInt32, inode: UInt32) -> Bool {
        if geometry.contains(block), geometry.endBlock - block >= UInt64(count) { return true }
        faults.notePointer(of: inode, to: block)
        return false
    }
}
