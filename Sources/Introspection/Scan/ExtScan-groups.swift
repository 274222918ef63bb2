import BlockStorage
import GuestFilesystems

extension ExtScan {
    /// Reads the group descriptors. Those that cannot be read come out as zeros, which place nothing.
    func readDescriptors() -> [ExtGroupDescriptor] {
        let blockSize = geometry.blockSize
        var blocks: [UInt64] = []
        for index in 0..<geometry.descriptorBlockCount {
            let block = geometry.descriptorBlock(index)
            if geometry.contains(block) {
                blocks.append(block)
            } else {
                report("descriptor block \(index) would be block \(block), outside the file system")
            }
        }
        let bytes = ByteTable()
        let wanted = blocks.sorted().map { ClassifiedRange(range(of: $0, count: 1), .groupDescriptor) }
        read(wanted) { _, item, span in
            bytes.store(span, at: UInt64(wanted[item].range.offset / blockSize))
        }
        return (0..<geometry.groupCount).map { group in
            descriptor(of: group, in: bytes[geometry.descriptorBlock(group / geometry.descriptorsPerBlock)])
        }
    }

    private func descriptor(of group: Int, in block: [UInt8]?) -> ExtGroupDescriptor {
        guard let block, let found = geometry.descriptor(ofGroup: group, in: block.span.bytes) else {
            return ExtGroupDescriptor()
        }
        if !found.isIntact {
            report("the checksum of group \(group)'s descriptor is wrong: its flags are not relied on")
        }
        return found.descriptor
    }

    /// Reads bitmaps and inode tables of all groups, in the order of the disk, and visits the inodes.
    func readGroups() {
        for (group, descriptor) in result.descriptors.enumerated() {
            checkPlaces(group, descriptor)
        }
        let distrusted = distrustedGroups()
        environment.meter.expect(bytes: result.descriptors.reduce(0) { $0 + expectedBytes($1) })
        // The structures of a flexible group lie together, so that they are read together.
        let perWindow = max(1, min(Int(geometry.superblock.groupsPerFlexibleGroup), 64))
        var start = 0
        while start < geometry.groupCount {
            let end = min(start + max(perWindow, windowForSmallGroups), geometry.groupCount)
            guard readWindow(start..<end, distrusted) else { return }
            start = end
        }
    }

    /// About how much there is to read of a group, going by what its descriptor counts.
    private func expectedBytes(_ descriptor: ExtGroupDescriptor) -> Int {
        var blocks = descriptor.flags.contains(.blocksUninitialized) ? 0 : 1
        if !descriptor.flags.contains(.inodesUninitialized) {
            let used = max(0, Int(geometry.superblock.inodesPerGroup) - Int(descriptor.freeInodeCount))
            blocks += 1 + (used + geometry.inodesPerBlock - 1) / geometry.inodesPerBlock
        }
        return blocks * geometry.blockSize
    }

    /// Groups whose bitmaps are looked at in one go where they are small, so that threads have something to share.
    private var windowForSmallGroups: Int {
        let groupBytes = Int(geometry.superblock.blocksPerGroup) * geometry.blockSize
        return max(1, (64 << 20) / max(groupBytes, 1))
    }

    private func checkPlaces(_ group: Int, _ descriptor: ExtGroupDescriptor) {
        if geometry.blockBitmap(descriptor) == nil {
            report("group \(group): block bitmap at block \(descriptor.blockBitmap), outside the file system")
        }
        if geometry.inodeBitmap(descriptor) == nil {
            report("group \(group): inode bitmap at block \(descriptor.inodeBitmap), outside the file system")
        }
        if geometry.inodeTable(descriptor) == nil {
            report("group \(group): inode table at block \(descriptor.inodeTable), not wholly in the file system")
        }
    }

    /// Groups whose inodes or block bitmap are where another group has its own: a lie, which could make a scan read the
    /// same blocks for every group, or have one block of bits fill the map.
    private struct Distrusted {
        var inodes: Set<Int> = []
        var blocks: Set<Int> = []
    }

    private func distrustedGroups() -> Distrusted {
        let inodes = groupsSharing("its inodes are where another group's are: they are left out") { descriptor in
            [
                geometry.inodeTable(descriptor),
                geometry.inodeBitmap(descriptor).map { $0..<$0 + 1 },
            ]
        }
        let blocks = groupsSharing("its block bitmap is another group's: its blocks count as allocated") { descriptor in
            [geometry.blockBitmap(descriptor).map { $0..<$0 + 1 }]
        }
        return Distrusted(inodes: inodes, blocks: blocks)
    }

    /// Groups that have one of their `places` in common with a group before them.
    private func groupsSharing(
        _ problem: String, _ places: (ExtGroupDescriptor) -> [Range<UInt64>?]
    ) -> Set<Int> {
        var all: [(blocks: Range<UInt64>, group: Int)] = []
        for (group, descriptor) in result.descriptors.enumerated() {
            all += places(descriptor).compactMap { $0 }.map { ($0, group) }
        }
        all.sort { ($0.blocks.lowerBound, $0.group) < ($1.blocks.lowerBound, $1.group) }
        var sharing: Set<Int> = []
        var end: UInt64 = 0
        for (blocks, group) in all {
            if blocks.lowerBound < end { sharing.insert(group) }
            end = max(end, blocks.upperBound)
        }
        for group in sharing.sorted().prefix(environment.options.problemLimit) { report("group \(group): \(problem)") }
        return sharing
    }

    /// Bitmaps, then inode tables of `groups`. Returns false when the scan is to end.
    private func readWindow(_ groups: Range<Int>, _ distrusted: Distrusted) -> Bool {
        let wanted = bitmaps(of: groups)
        let bytes = ByteTable()
        let blockSize = geometry.blockSize
        let goesOn = read(wanted, isForeseen: true) { _, item, span in
            bytes.store(span, at: UInt64(wanted[item].range.offset / blockSize))
        }
        guard goesOn else { return false }
        var tables: [TablePart] = []
        for group in groups {
            let descriptor = result.descriptors[group]
            if distrusted.blocks.contains(group) {
                result.allocation.set(geometry.blocks(ofGroup: group), allocated: true)
            } else {
                setAllocation(group, descriptor, bytes)
            }
            if !distrusted.inodes.contains(group) { tables += usedTableParts(group, descriptor, bytes) }
        }
        tables.sort { $0.block < $1.block }
        return visitInodes(tables)
    }

    /// The bitmaps of `groups` that were ever written, sorted and without repetition.
    private func bitmaps(of groups: Range<Int>) -> [ClassifiedRange] {
        var blocks: [(block: UInt64, blockClass: BlockClass)] = []
        for group in groups {
            let descriptor = result.descriptors[group]
            if !descriptor.flags.contains(.blocksUninitialized), let block = geometry.blockBitmap(descriptor) {
                blocks.append((block, .blockBitmap))
            }
            if !descriptor.flags.contains(.inodesUninitialized), let block = geometry.inodeBitmap(descriptor) {
                blocks.append((block, .inodeBitmap))
            }
        }
        blocks.sort { ($0.block, $0.blockClass.rawValue) < ($1.block, $1.blockClass.rawValue) }
        var ranges: [ClassifiedRange] = []
        for (block, blockClass) in blocks {
            let range = range(of: block, count: 1)
            if ranges.last?.range != range { ranges.append(ClassifiedRange(range, blockClass)) }
        }
        return ranges
    }

    /// A bitmap that was never written calls nothing allocated; one that cannot be read, everything.
    private func setAllocation(_ group: Int, _ descriptor: ExtGroupDescriptor, _ bytes: ByteTable) {
        guard !descriptor.flags.contains(.blocksUninitialized) else { return }
        if let block = geometry.blockBitmap(descriptor), let bitmap = bytes[block] {
            result.allocation.setGroup(group, of: geometry, bitmap: bitmap)
        } else {
            result.allocation.set(geometry.blocks(ofGroup: group), allocated: true)
        }
    }

    /// A part of an inode table.
    private struct TablePart {
        var block: UInt64
        var count: Int
        /// The first block's first inode.
        var inode: UInt32
    }

    /// The blocks of a group's inode table that hold inodes in use, in parts of at most one request.
    private func usedTableParts(_ group: Int, _ descriptor: ExtGroupDescriptor, _ bytes: ByteTable) -> [TablePart] {
        guard !descriptor.flags.contains(.inodesUninitialized), let table = geometry.inodeTable(descriptor) else {
            return []
        }
        var used: [Range<Int>] = []
        if let block = geometry.inodeBitmap(descriptor), let bitmap = bytes[block] {
            ExtBitmap.forEachSetRun(in: bitmap.span.bytes, count: Int(geometry.superblock.inodesPerGroup)) { inodes in
                let blocks =
                    inodes.lowerBound / geometry.inodesPerBlock..<(inodes.upperBound - 1) / geometry.inodesPerBlock + 1
                if let last = used.last, blocks.lowerBound <= last.upperBound {
                    used[used.endIndex - 1] = last.lowerBound..<max(last.upperBound, blocks.upperBound)
                } else {
                    used.append(blocks)
                }
            }
        } else {
            used = [0..<table.count]
        }
        used = asGuestsRead(used, of: table, descriptor)
        let limit = max(1, environment.options.requestLimit / geometry.blockSize)
        return used.flatMap { blocks in
            stride(from: blocks.lowerBound, to: blocks.upperBound, by: limit).map { start in
                TablePart(
                    block: table.lowerBound + UInt64(start), count: min(limit, blocks.upperBound - start),
                    inode: geometry.inode(group: group, index: start * geometry.inodesPerBlock))
            }
        }
    }

    /// Widens parts of an inode table to what Linux reads for the inodes in them: it reads ahead whole, aligned groups of
    /// 32 blocks (`inode_readahead_blks`), as far as the table is initialised, and finds these in the cache then.
    private func asGuestsRead(
        _ used: [Range<Int>], of table: Range<UInt64>, _ descriptor: ExtGroupDescriptor
    ) -> [Range<Int>] {
        let window: UInt64 = 32
        let unused = geometry.superblock.hasGroupFlags ? Int(descriptor.unusedInodeCount) : 0
        let initialised = max(0, Int(geometry.superblock.inodesPerGroup) - unused) / geometry.inodesPerBlock
        var widened: [Range<Int>] = []
        for blocks in used {
            let first = table.lowerBound + UInt64(blocks.lowerBound)
            let last = table.lowerBound + UInt64(blocks.upperBound - 1)
            let start = Int(max(first & ~(window - 1), table.lowerBound) - table.lowerBound)
            let end = Int((last | (window - 1)) + 1 - table.lowerBound)
            let wide = start..<max(blocks.upperBound, min(end, initialised, table.count))
            if let previous = widened.last, wide.lowerBound <= previous.upperBound {
                widened[widened.endIndex - 1] = previous.lowerBound..<max(previous.upperBound, wide.upperBound)
            } else {
                widened.append(wide)
            }
        }
        return widened
    }

    private func visitInodes(_ parts: [TablePart]) -> Bool {
        let superblock = geometry.superblock
        let runs = parts.map { ClassifiedRange(range(of: $0.block, count: $0.count), .inodeTable) }
        return read(runs, isForeseen: true) { worker, item, span in
            // The last block of a table may have room for more inodes than the group has.
            let first = parts[item].inode
            let inGroup = superblock.inodesPerGroup - (first - 1) % superblock.inodesPerGroup
            for index in 0..<min(span.byteCount / superblock.inodeSize, Int(inGroup)) {
                if let inode = try? ExtInode(parsing: span, at: index * superblock.inodeSize) {
                    worker.visit(inode, number: first + UInt32(index))
                }
            }
        }
    }

    /// The bytes of `count` blocks from `block`, which must be inside the file system.
    func range(of block: UInt64, count: Int) -> ByteRange {
        ByteRange(offset: Int(block) * geometry.blockSize, length: count * geometry.blockSize)
    }
}

/// Blocks that several threads read for one to use.
private final class ByteTable: Sendable {
    private let blocks = Locked<[UInt64: [UInt8]]>([:])

    func store(_ span: RawSpan, at block: UInt64) {
        let bytes = span.withUnsafeBytes { [UInt8]($0) }
        blocks.withLock { $0[block] = bytes }
    }

    subscript(block: UInt64) -> [UInt8]? {
        blocks.withLock { $0[block] }
    }
}
