import CExt2FS

extension ExtOracle {
    /// Classifies every block of the file system that the file `path` holds from its first byte on.
    ///
    /// Throws also when libext2fs contradicts itself: two owners for a block that cannot have two, blocks in use that
    /// the bitmap calls free, or blocks in use that nothing owns, all of which `e2fsck` would report.
    public init(path: String) throws(OracleError) {
        let filesystem = try ExtFilesystem(path: path)
        self.init(blockSize: filesystem.blockSize, blockCount: filesystem.blockCount)
        let firstBlock = Int(filesystem.superblock.s_first_data_block)
        for block in 0..<firstBlock {
            classes[block] = .boot
        }
        try claimHeads(of: filesystem)
        try claimGroupTables(of: filesystem)
        if filesystem.superblock.s_feature_incompat & UInt32(EXT4_FEATURE_INCOMPAT_MMP) != 0 {
            try claim(Int(filesystem.superblock.s_mmp_block), as: .mountProtection)
        }
        try filesystem.forEachInode { number, inode throws(OracleError) in
            try claimBlocks(of: number, &inode, of: filesystem)
        }
        try checkAllocation(of: filesystem)
    }

    private mutating func claim(_ block: Int, as claimed: OracleClass, owner: UInt32 = 0) throws(OracleError) {
        guard classes.indices.contains(block) else {
            throw OracleError(description: "block \(block), \(claimed) of inode \(owner), lies outside")
        }
        guard classes[block] == .free else {
            throw OracleError(
                description: "block \(block) is \(classes[block]) of \(owners[block]) and \(claimed) of \(owner)")
        }
        classes[block] = claimed
        owners[block] = owner
    }

    /// Superblocks, descriptors and the blocks reserved for the descriptors' growth.
    private mutating func claimHeads(of filesystem: ExtFilesystem) throws(OracleError) {
        let superblock = filesystem.superblock
        let hasMetaGroups = superblock.s_feature_incompat & UInt32(EXT2_FEATURE_INCOMPAT_META_BG) != 0
        let oldDescriptorBlocks =
            hasMetaGroups
            ? Int(superblock.s_first_meta_bg)
            : Int(filesystem.handle.pointee.desc_blocks) + Int(superblock.s_reserved_gdt_blocks)
        for group in 0..<filesystem.groupCount {
            let head = try filesystem.head(of: group)
            if let block = head.superblock {
                try claim(block, as: .superblock)
            }
            if let first = head.oldDescriptors {
                for block in first..<first + oldDescriptorBlocks {
                    try claim(block, as: .groupDescriptor)
                }
            }
            if let block = head.newDescriptors {
                try claim(block, as: .groupDescriptor)
            }
        }
        // With clusters it marks whole ones, so that it cannot be compared.
        guard !filesystem.hasClusters else { return }
        let claimed = Set(classes.indices.filter { classes[$0] == .superblock || classes[$0] == .groupDescriptor })
        let reserved = try filesystem.reservedHeads()
        guard claimed == reserved else {
            let differing = claimed.symmetricDifference(reserved).sorted().prefix(10)
            throw OracleError(description: "ext2fs_reserve_super_and_bgd differs in blocks \(Array(differing))")
        }
    }

    private mutating func claimGroupTables(of filesystem: ExtFilesystem) throws(OracleError) {
        for group in 0..<filesystem.groupCount {
            try claim(Int(ext2fs_block_bitmap_loc(filesystem.handle, group)), as: .blockBitmap)
            try claim(Int(ext2fs_inode_bitmap_loc(filesystem.handle, group)), as: .inodeBitmap)
            let table = Int(ext2fs_inode_table_loc(filesystem.handle, group))
            for block in table..<table + filesystem.inodeTableBlocks {
                try claim(block, as: .inodeTable)
            }
        }
    }

    private mutating func claimBlocks(
        of number: UInt32, _ inode: inout ext2_inode, of filesystem: ExtFilesystem
    ) throws(OracleError) {
        let attributes = Int(ext2fs_file_acl_block(filesystem.handle, &inode))
        if attributes != 0 {
            try claimAttributes(attributes, of: number)
        }
        // The inode of the bad blocks has no mode, from which libext2fs would conclude that it has no blocks.
        let hasBlocks = number == EXT2_BAD_INO || ext2fs_inode_has_valid_blocks2(filesystem.handle, &inode) != 0
        guard hasBlocks else { return }
        let contents = Self.contents(of: number, inode, superblock: filesystem.superblock)
        for block in try filesystem.blocks(of: number) {
            if number == EXT2_RESIZE_INO, classes.indices.contains(block.number),
                classes[block.number] == .groupDescriptor
            {
                // The resize inode maps the reserved descriptor blocks, which are in place already.
                owners[block.number] = number
            } else {
                try claim(block.number, as: block.isMapping ? .indirect : contents, owner: number)
            }
        }
    }

    /// Inodes with equal attributes share a block.
    private mutating func claimAttributes(_ block: Int, of number: UInt32) throws(OracleError) {
        guard classes.indices.contains(block), classes[block] == .extendedAttribute else {
            return try claim(block, as: .extendedAttribute, owner: number)
        }
        sharedOwners[block, default: [owners[block]]].insert(number)
    }

    /// What the blocks of an inode that hold contents are.
    private static func contents(
        of number: UInt32, _ inode: ext2_inode, superblock: ext2_super_block
    ) -> OracleClass {
        if number == EXT2_BAD_INO { return .bad }
        if number == superblock.s_journal_inum { return .journal }
        if inode.i_flags & UInt32(EXT4_EA_INODE_FL) != 0 { return .extendedAttribute }
        let books = [
            superblock.s_usr_quota_inum, superblock.s_grp_quota_inum, superblock.s_prj_quota_inum,
            superblock.s_orphan_file_inum,
        ]
        if books.contains(number) { return .bookkeeping }
        return switch Int32(inode.i_mode) & 0o170000 {
        case 0o040000: .directory
        case 0o120000: .symlink
        default: .data
        }
    }

    /// What the bitmap says and what has been claimed must agree. In a file system with clusters the rest of a
    /// cluster is in use with no owner.
    private mutating func checkAllocation(of filesystem: ExtFilesystem) throws(OracleError) {
        for block in Int(filesystem.superblock.s_first_data_block)..<classes.count {
            let isAllocated = filesystem.isAllocated(block)
            if isAllocated, classes[block] == .free {
                guard filesystem.hasClusters else {
                    throw OracleError(description: "block \(block) is in use and nothing owns it")
                }
                classes[block] = .unclaimed
            } else if !isAllocated, classes[block] != .free, classes[block] != .boot {
                throw OracleError(description: "block \(block), \(classes[block]), is marked free")
            }
        }
    }
}
