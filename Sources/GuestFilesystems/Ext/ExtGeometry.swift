/// Where the fixed structures of an ext file system are, as far as its superblock tells.
///
/// Bitmaps and inode tables are where the group descriptors say; everything else is arithmetic. Block numbers are
/// those of the file system; every range returned lies inside it. Source: `Documentation/filesystems/ext4`
/// (`blockgroup.rst`, `group_descr.rst`), checked against libext2fs.
public struct ExtGeometry: Hashable, Sendable {
    /// The superblock this is the geometry of.
    public let superblock: ExtSuperblock
    /// The number of groups.
    public let groupCount: Int
    /// Group descriptors in a block.
    public let descriptorsPerBlock: Int
    /// Blocks that hold the descriptors of all groups, without those reserved.
    public let descriptorBlockCount: Int
    /// Inodes in a block.
    public let inodesPerBlock: Int
    /// Blocks in a group's inode table.
    public let inodeTableBlockCount: Int
    /// Descriptor blocks that follow each superblock, reserved ones included; the rest is in meta groups.
    private let descriptorBlocksBesideSuperblock: Int

    /// The geometry of `superblock`.
    public init(_ superblock: ExtSuperblock) {
        self.superblock = superblock
        groupCount = superblock.groupCount
        descriptorsPerBlock = superblock.blockSize / superblock.descriptorSize
        descriptorBlockCount = (groupCount + descriptorsPerBlock - 1) / descriptorsPerBlock
        inodesPerBlock = superblock.blockSize / superblock.inodeSize
        inodeTableBlockCount = (Int(superblock.inodesPerGroup) + inodesPerBlock - 1) / inodesPerBlock
        descriptorBlocksBesideSuperblock =
            superblock.incompatible.contains(.metaGroups)
            ? Int(superblock.firstMetaGroup)
            : descriptorBlockCount + Int(superblock.reservedDescriptorBlocks)
    }

    /// Bytes in a block.
    public var blockSize: Int { superblock.blockSize }

    /// The first block after the file system.
    public var endBlock: UInt64 { superblock.blockCount }

    // MARK: Groups

    /// The blocks of `group`, which must be less than ``groupCount``.
    public func blocks(ofGroup group: Int) -> Range<UInt64> {
        let start = UInt64(superblock.firstDataBlock) + UInt64(group) * UInt64(superblock.blocksPerGroup)
        return start..<min(start + UInt64(superblock.blocksPerGroup), endBlock)
    }

    /// The group that `block` is in; nil for blocks before the first group or after the file system.
    public func group(ofBlock block: UInt64) -> Int? {
        guard block >= UInt64(superblock.firstDataBlock), block < endBlock else { return nil }
        return Int((block - UInt64(superblock.firstDataBlock)) / UInt64(superblock.blocksPerGroup))
    }

    /// Whether `group` starts with a superblock: the primary one or a backup.
    public func hasSuperblock(group: Int) -> Bool {
        if group == 0 { return true }
        if superblock.compatible.contains(.sparseSuper2) {
            return superblock.backupGroups.contains { Int($0) == group }
        }
        if group == 1 || !superblock.readOnlyCompatible.contains(.sparseSuper) { return true }
        return [3, 5, 7].contains { Self.isPower(group, of: $0) }
    }

    /// What superblock and descriptors take of a group.
    public struct Overhead: Hashable, Sendable {
        /// The superblock's block, or no block.
        public let superblock: Range<UInt64>
        /// Descriptor blocks in use, copies included.
        public let descriptors: Range<UInt64>
        /// Descriptor blocks reserved for growth.
        public let reservedDescriptors: Range<UInt64>
    }

    /// Where superblock and descriptors are in `group`, which must be less than ``groupCount``.
    public func overhead(ofGroup group: Int) -> Overhead {
        let blocks = blocks(ofGroup: group)
        var next = blocks.lowerBound
        func take(_ count: Int) -> Range<UInt64> {
            let start = min(next, blocks.upperBound)
            next = min(start + UInt64(count), blocks.upperBound)
            return start..<next
        }
        // With clusters (bigalloc) and blocks of 1 KiB, group 0 starts with the boot block.
        if group == 0, superblock.blockSize == 1024, superblock.firstDataBlock == 0 { next += 1 }
        let hasSuperblock = hasSuperblock(group: group)
        let own = take(hasSuperblock ? 1 : 0)
        guard isInMetaGroups(descriptorBlock: group / descriptorsPerBlock) else {
            let used = min(descriptorBlocksBesideSuperblock, descriptorBlockCount)
            let descriptors = take(hasSuperblock ? used : 0)
            let reserved = take(hasSuperblock ? descriptorBlocksBesideSuperblock - used : 0)
            return Overhead(superblock: own, descriptors: descriptors, reservedDescriptors: reserved)
        }
        let place = group % descriptorsPerBlock
        let holdsCopy = place == 0 || place == 1 || place == descriptorsPerBlock - 1
        let descriptors = take(holdsCopy ? 1 : 0)
        return Overhead(superblock: own, descriptors: descriptors, reservedDescriptors: take(0))
    }

    /// The block of the primary descriptor block number `index`, less than ``descriptorBlockCount``; it may lie
    /// outside a file system whose superblock lies.
    public func descriptorBlock(_ index: Int) -> UInt64 {
        guard isInMetaGroups(descriptorBlock: index) else {
            let bootBlock: UInt64 = superblock.blockSize == 1024 ? 1 : 0
            return max(UInt64(superblock.firstDataBlock), bootBlock) + 1 + UInt64(index)
        }
        let group = index * descriptorsPerBlock
        return overhead(ofGroup: group).descriptors.lowerBound
    }

    private func isInMetaGroups(descriptorBlock index: Int) -> Bool {
        superblock.incompatible.contains(.metaGroups) && index >= Int(superblock.firstMetaGroup)
    }

    private static func isPower(_ number: Int, of base: Int) -> Bool {
        var power = base
        while power < number { power *= base }
        return power == number
    }

    // MARK: Inodes

    /// The group that `inode` is in; nil for numbers that name no inode.
    public func group(ofInode inode: UInt32) -> Int? {
        guard inode >= 1, inode <= superblock.inodeCount else { return nil }
        return Int((inode - 1) / superblock.inodesPerGroup)
    }

    /// The inode that is `index`th of `group`'s table.
    public func inode(group: Int, index: Int) -> UInt32 {
        UInt32(truncatingIfNeeded: group * Int(superblock.inodesPerGroup) + index + 1)
    }

    /// Where `inode` is, given its group's descriptor: the block and the byte in it; nil when it is nowhere.
    public func location(ofInode inode: UInt32, in descriptor: ExtGroupDescriptor) -> (block: UInt64, offset: Int)? {
        guard group(ofInode: inode) != nil, let table = inodeTable(descriptor) else { return nil }
        let index = Int((inode - 1) % superblock.inodesPerGroup)
        return (
            table.lowerBound + UInt64(index / inodesPerBlock), index % inodesPerBlock * superblock.inodeSize
        )
    }

    // MARK: What descriptors point at

    /// The inode table that `descriptor` names; nil when it is not wholly inside the file system.
    public func inodeTable(_ descriptor: ExtGroupDescriptor) -> Range<UInt64>? {
        let start = descriptor.inodeTable
        guard contains(start), endBlock - start >= UInt64(inodeTableBlockCount) else { return nil }
        return start..<start + UInt64(inodeTableBlockCount)
    }

    /// The block bitmap that `descriptor` names; nil when it is outside the file system.
    public func blockBitmap(_ descriptor: ExtGroupDescriptor) -> UInt64? {
        contains(descriptor.blockBitmap) ? descriptor.blockBitmap : nil
    }

    /// The inode bitmap that `descriptor` names; nil when it is outside the file system.
    public func inodeBitmap(_ descriptor: ExtGroupDescriptor) -> UInt64? {
        contains(descriptor.inodeBitmap) ? descriptor.inodeBitmap : nil
    }

    /// Whether a pointer to `block` makes sense: no file or structure may hold blocks before the first data block,
    /// block 0, or after the end.
    public func contains(_ block: UInt64) -> Bool {
        block >= max(1, UInt64(superblock.firstDataBlock)) && block < endBlock
    }

    /// Bits that count in the block bitmap of `group`: its blocks, or clusters with bigalloc.
    public func blockBitmapBitCount(ofGroup group: Int) -> Int {
        let perCluster = superblock.blocksPerCluster
        return (blocks(ofGroup: group).count + perCluster - 1) / perCluster
    }
}
