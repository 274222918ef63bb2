import BlockStorage

extension ExtSuperblock {
    /// The fields that are checked; the value is the offset in bytes.
    enum Field: Int {
        case inodeCount = 0
        case blockCount = 4
        case firstDataBlock = 20
        case logBlockSize = 24
        case logClusterSize = 28
        case blocksPerGroup = 32
        case inodesPerGroup = 40
        case magic = 56
        case firstInode = 84
        case inodeSize = 88
        case descriptorSize = 254
        case reservedDescriptorBlocks = 206
        case firstMetaGroup = 260

        var name: String {
            switch self {
            case .inodeCount: "s_inodes_count"
            case .blockCount: "s_blocks_count"
            case .firstDataBlock: "s_first_data_block"
            case .logBlockSize: "s_log_block_size"
            case .logClusterSize: "s_log_cluster_size"
            case .blocksPerGroup: "s_blocks_per_group"
            case .inodesPerGroup: "s_inodes_per_group"
            case .magic: "s_magic"
            case .firstInode: "s_first_ino"
            case .inodeSize: "s_inode_size"
            case .descriptorSize: "s_desc_size"
            case .reservedDescriptorBlocks: "s_reserved_gdt_blocks"
            case .firstMetaGroup: "s_first_meta_bg"
            }
        }

        private func value(in bytes: RawSpan) -> UInt64 {
            switch self {
            case .magic, .inodeSize, .descriptorSize, .reservedDescriptorBlocks: UInt64(bytes.uint16(at: rawValue))
            case .blockCount: UInt64(bytes.uint32(at: rawValue)) | UInt64(bytes.uint32(at: 336)) << 32
            default: UInt64(bytes.uint32(at: rawValue))
            }
        }

        func check(
            _ bytes: RawSpan, _ holds: Bool, _ expected: @autoclosure () -> String
        ) throws(ExtFormatError) {
            guard !holds else { return }
            throw ExtFormatError(
                .badValue, "superblock", field: name, offset: rawValue, found: value(in: bytes), expected: expected())
        }

        /// The size whose logarithm, less `shift`, this field holds.
        func powerOfTwo(
            in bytes: RawSpan, shift: Int, allowed: ClosedRange<UInt64>
        ) throws(ExtFormatError) -> Int {
            let value = value(in: bytes)
            try check(bytes, allowed.contains(value), "\(allowed.lowerBound) to \(allowed.upperBound)")
            return 1 << (shift + Int(truncatingIfNeeded: value))
        }
    }

    static func checkedGroupCount(
        _ bytes: RawSpan, blockCount: UInt64, firstDataBlock: UInt32, blocksPerGroup: UInt32
    ) throws(ExtFormatError) -> Int {
        try Field.blocksPerGroup.check(
            bytes, blocksPerGroup > 0 && blocksPerGroup % 8 == 0, "a positive multiple of 8")
        try Field.blockCount.check(
            bytes, blockCount > UInt64(firstDataBlock) && blockCount < 1 << 48,
            "more than s_first_data_block (\(firstDataBlock)) and less than 2^48")
        let groups = (blockCount - UInt64(firstDataBlock) - 1) / UInt64(blocksPerGroup) + 1
        try Field.blockCount.check(bytes, groups <= UInt64(UInt32.max), "at most 2^32 groups of \(blocksPerGroup)")
        return Int(truncatingIfNeeded: groups)
    }

    /// What must hold between the fields; each was read already.
    func check(_ bytes: RawSpan) throws(ExtFormatError) {
        let bitsPerBlock = blockSize * 8
        let blockLimit = bitsPerBlock * blocksPerCluster
        try Field.blocksPerGroup.check(
            bytes, Int(blocksPerGroup) <= blockLimit && Int(blocksPerGroup) % blocksPerCluster == 0,
            "at most \(blockLimit), which one bitmap block describes")
        let first = blockSize == 1024 && blocksPerCluster == 1 ? 1 : 0
        try Field.firstDataBlock.check(bytes, firstDataBlock == first, "\(first) for blocks of \(blockSize) bytes")
        try Field.inodeSize.check(
            bytes, (128...blockSize).contains(inodeSize) && inodeSize.nonzeroBitCount == 1,
            "a power of two from 128 to the block size (\(blockSize))")
        try Field.firstInode.check(bytes, firstInode >= 11, "11 or more")
        try Field.inodesPerGroup.check(
            bytes, inodesPerGroup > 0 && Int(inodesPerGroup) <= bitsPerBlock, "1 to \(bitsPerBlock)")
        let (inodes, overflow) = UInt32(truncatingIfNeeded: groupCount)
            .multipliedReportingOverflow(by: inodesPerGroup)
        try Field.inodeCount.check(
            bytes, !overflow && inodes == inodeCount,
            "\(groupCount) groups of \(inodesPerGroup) inodes")
        try Field.descriptorSize.check(
            bytes, descriptorSize == 32 || (64...1024).contains(descriptorSize) && descriptorSize.nonzeroBitCount == 1,
            "a power of two from 64 to 1024")
        let descriptorBlocks = (groupCount + blockSize / descriptorSize - 1) / (blockSize / descriptorSize)
        try Field.reservedDescriptorBlocks.check(
            bytes, Int(reservedDescriptorBlocks) <= blockSize / 4, "at most \(blockSize / 4)")
        try Field.firstMetaGroup.check(
            bytes, !incompatible.contains(.metaGroups) || Int(firstMetaGroup) <= descriptorBlocks,
            "at most \(descriptorBlocks), the number of descriptor blocks")
    }

    /// Throws when the file system is larger than its volume of `deviceSize` bytes.
    public func check(deviceSize: Int) throws(ExtFormatError) {
        let held = UInt64(max(deviceSize, 0) / blockSize)
        guard blockCount > held else { return }
        throw ExtFormatError(
            .badValue, "superblock", field: Field.blockCount.name, offset: Field.blockCount.rawValue,
            found: blockCount, expected: "at most \(held) blocks of \(blockSize) bytes, which the volume holds")
    }

    /// Whether the superblock's checksum is right; true when it has none. `bytes` are the 1,024 it was parsed from.
    public func hasValidChecksum(_ bytes: RawSpan) -> Bool {
        guard readOnlyCompatible.contains(.metadataChecksums), bytes.byteCount >= Self.size else { return true }
        return ExtChecksum.crc32c(bytes.extracting(0..<1020), seed: ~0) == bytes.uint32(at: 1020)
    }
}
