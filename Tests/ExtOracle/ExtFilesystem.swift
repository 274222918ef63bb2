import CExt2FS

/// An ext2/3/4 file system that libext2fs has opened for reading.
final class ExtFilesystem {
    let handle: ext2_filsys
    private let path: String

    init(path: String) throws(OracleError) {
        self.path = path
        var opened: ext2_filsys?
        let flags = EXT2_FLAG_64BITS | EXT2_FLAG_SOFTSUPP_FEATURES
        let status = ext2fs_open2(path, nil, flags, 0, 0, introspect_unix_io_manager(), &opened)
        guard status == 0, let opened else { throw Self.error("ext2fs_open2", path, status) }
        handle = opened
        try check(ext2fs_read_bitmaps(handle), "ext2fs_read_bitmaps")
    }

    deinit {
        ext2fs_free(handle)
    }

    var superblock: ext2_super_block { handle.pointee.super.pointee }
    var blockSize: Int { Int(handle.pointee.blocksize) }
    var blockCount: Int { Int(ext2fs_blocks_count(handle.pointee.super)) }
    var groupCount: UInt32 { handle.pointee.group_desc_count }
    var inodeTableBlocks: Int { Int(handle.pointee.inode_blocks_per_group) }

    var hasClusters: Bool { superblock.s_feature_ro_compat & UInt32(EXT4_FEATURE_RO_COMPAT_BIGALLOC) != 0 }

    func check(_ status: errcode_t, _ operation: String) throws(OracleError) {
        guard status == 0 else { throw Self.error(operation, path, status) }
    }

    private static func error(_ operation: String, _ path: String, _ status: errcode_t) -> OracleError {
        OracleError(description: "\(path): \(operation): \(String(cString: error_message(status)))")
    }

    /// Where one group's superblock and descriptors lie; nil for what the group has not.
    struct GroupHead {
        var superblock: Int?
        var oldDescriptors: Int?
        var newDescriptors: Int?
    }

    func head(of group: UInt32) throws(OracleError) -> GroupHead {
        var superblock: blk64_t = 0
        var old: blk64_t = 0
        var new: blk64_t = 0
        let status = ext2fs_super_and_bgd_loc2(handle, group, &superblock, &old, &new, nil)
        try check(status, "ext2fs_super_and_bgd_loc2")
        return GroupHead(
            superblock: superblock != 0 || group == 0 ? Int(superblock) : nil,
            oldDescriptors: old != 0 ? Int(old) : nil,
            newDescriptors: new != 0 ? Int(new) : nil)
    }

    /// The blocks that `ext2fs_reserve_super_and_bgd` marks for all groups: a second opinion on superblocks and
    /// descriptors from the same library.
    func reservedHeads() throws(OracleError) -> Set<Int> {
        var bitmap: ext2fs_block_bitmap?
        try check(ext2fs_allocate_block_bitmap(handle, "heads", &bitmap), "ext2fs_allocate_block_bitmap")
        defer { ext2fs_free_block_bitmap(bitmap) }
        for group in 0..<groupCount {
            ext2fs_reserve_super_and_bgd(handle, group, bitmap)
        }
        let first = Int(superblock.s_first_data_block)
        return Set((first..<blockCount).filter { introspect_test_block_bitmap(bitmap, blk64_t($0)) != 0 })
    }

    func isAllocated(_ block: Int) -> Bool {
        introspect_test_block_bitmap(handle.pointee.block_map, blk64_t(block)) != 0
    }

    /// Calls `body` with every inode in use, the reserved ones included.
    func forEachInode(_ body: (UInt32, inout ext2_inode) throws(OracleError) -> Void) throws(OracleError) {
        var scan: ext2_inode_scan?
        try check(ext2fs_open_inode_scan(handle, 0, &scan), "ext2fs_open_inode_scan")
        defer { ext2fs_close_inode_scan(scan) }
        var inode = ext2_inode()
        var number: ext2_ino_t = 0
        while true {
            try check(ext2fs_get_next_inode(scan, &number, &inode), "ext2fs_get_next_inode")
            guard number != 0 else { return }
            let isReserved = superblock.s_rev_level == 0 ? number < 11 : number < superblock.s_first_ino
            if inode.i_links_count > 0 || isReserved {
                try body(number, &inode)
            }
        }
    }

    /// The blocks of an inode, and for each whether it maps others rather than holding contents.
    func blocks(of inode: UInt32) throws(OracleError) -> [VisitedBlock] {
        var visited: [VisitedBlock] = []
        let status = withUnsafeMutablePointer(to: &visited) { visited in
            ext2fs_block_iterate3(
                handle, inode, BLOCK_FLAG_READ_ONLY, nil,
                { _, block, count, _, _, context in
                    if let block, let visited = context?.assumingMemoryBound(to: [VisitedBlock].self) {
                        visited.pointee.append(VisitedBlock(number: Int(block.pointee), isMapping: count < 0))
                    }
                    return 0
                }, visited)
        }
        try check(status, "ext2fs_block_iterate3 of inode \(inode)")
        return visited
    }

    struct VisitedBlock {
        let number: Int
        let isMapping: Bool
    }
}
