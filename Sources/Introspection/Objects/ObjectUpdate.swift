import BlockStorage
import GuestFilesystems

/// Brings the ``LiveObjects`` of one file system up to date: reads inodes and directories that were written.
struct ObjectUpdate {
    /// Blocks of inode tables that are read at once.
    private static let blocksAtOnce: UInt64 = 64
    /// Runs of contents that count as much as a block that is read.
    private static let runsForABlock = 64

    let subject: ExtDigest.Subject
    let reader: VolumeReader
    /// What is known so far, and becomes current.
    var objects: LiveObjects
    /// Bytes that the index may take.
    let memoryLimit: Int
    /// Blocks that may be read: hostile contents may name any number of them, again and again.
    var budget: Int
    /// Blocks of inode tables whose inodes have blocks that are read here, with these.
    private(set) var followed: [(table: UInt64, blocks: Range<UInt64>)] = []

    private var geometry: ExtGeometry { subject.geometry }

    /// There is more than the index may take, or more to read than is sane.
    struct Overflow: Error {}

    /// Visits all inodes.
    mutating func build() throws {
        for (group, descriptor) in subject.descriptors.enumerated()
        where !descriptor.flags.contains(.inodesUninitialized) {
            guard let table = geometry.inodeTable(descriptor), let block = geometry.inodeBitmap(descriptor) else {
                continue
            }
            let bitmap = try bytes(block, as: .inodeBitmap)
            var used: [Range<UInt64>] = []
            ExtBitmap.forEachSetRun(in: bitmap.span.bytes, count: Int(geometry.superblock.inodesPerGroup)) { inodes in
                let first = table.lowerBound + UInt64(inodes.lowerBound / geometry.inodesPerBlock)
                let end = table.lowerBound + UInt64((inodes.upperBound - 1) / geometry.inodesPerBlock) + 1
                if let last = used.last, first <= last.upperBound {
                    used[used.count - 1] = last.lowerBound..<max(end, last.upperBound)
                } else {
                    used.append(first..<end)
                }
            }
            for range in used { try visitTable(range.clamped(to: table), group: group, table: table) }
        }
    }

    /// Visits the inodes in `blocks` and those that `owners` names for the other blocks.
    mutating func run(_ blocks: BlockRunSet, owners: Set<UInt32>) throws {
        var tables: [(Range<UInt64>, Int)] = []
        blocks.forEach { run in
            var block = run.block
            while block < run.end {
                guard case .inodeTable(let group, _) = subject.places.place(of: block),
                    let table = geometry.inodeTable(subject.descriptors[group])
                else {
                    block += 1
                    continue
                }
                tables.append((block..<min(run.end, table.upperBound), group))
                block = max(block + 1, min(run.end, table.upperBound))
            }
        }
        for (range, group) in tables {
            if let table = geometry.inodeTable(subject.descriptors[group]) {
                try visitTable(range, group: group, table: table)
            }
        }
        for number in owners.sorted() {
            guard let group = geometry.group(ofInode: number), group < subject.descriptors.count,
                let place = geometry.location(ofInode: number, in: subject.descriptors[group])
            else { continue }
            let block = try bytes(place.block, as: .inodeTable)
            try visit(number, in: block.span.bytes, at: place.offset, table: place.block)
        }
    }

    private mutating func visitTable(_ blocks: Range<UInt64>, group: Int, table: Range<UInt64>) throws {
        var block = blocks.lowerBound
        while block < blocks.upperBound {
            let count = min(Self.blocksAtOnce, blocks.upperBound - block)
            let read = try bytes(block, count: Int(count), as: .inodeTable)
            let first = Int(block - table.lowerBound) * geometry.inodesPerBlock
            let inGroup = Int(geometry.superblock.inodesPerGroup) - first
            for slot in 0..<max(0, min(Int(count) * geometry.inodesPerBlock, inGroup)) {
                try visit(
                    geometry.inode(group: group, index: first + slot), in: read.span.bytes,
                    at: slot / geometry.inodesPerBlock * geometry.blockSize
                        + slot % geometry.inodesPerBlock * geometry.superblock.inodeSize,
                    table: block + UInt64(slot / geometry.inodesPerBlock))
            }
            block += count
        }
    }

    private mutating func visit(_ number: UInt32, in bytes: RawSpan, at offset: Int, table: UInt64) throws {
        guard let inode = try? ExtInode(parsing: bytes, at: offset),
            let role = ExtInodeRole(inode, number: number, superblock: geometry.superblock)
        else { return objects.set(number, contents: [], names: []) }
        switch role.contents {
        case .data:
            objects.set(number, contents: try contents(of: inode, role, table: table), names: [])
        case .directory:
            var names: Set<UInt32> = []
            if inode.flags.contains(.inlineData) {
                let own = bytes.bytes(offset..<offset + geometry.superblock.inodeSize)
                guard let data = ExtInlineData(ofInode: own.span.bytes) else { break }
                collect(Array(data.head.dropFirst(4)), &names)
                collect(data.rest, &names)
            } else {
                // A block that is in a directory again names nothing new.
                var seen: Set<UInt64> = []
                for run in try contents(of: inode, role, table: table) {
                    followed.append((table, run.block..<run.block + UInt64(run.count)))
                    for block in run.block..<run.block + UInt64(run.count) where seen.insert(block).inserted {
                        collect(try self.bytes(block, as: .directory), &names)
                    }
                }
            }
            objects.set(number, contents: [], names: names.subtracting([number]))
        default:
            objects.set(number, contents: [], names: [])
        }
        guard objects.entryBytes <= memoryLimit else { throw Overflow() }
    }

    /// The runs of blocks that hold the contents of `inode`.
    private mutating func contents(of inode: ExtInode, _ role: ExtInodeRole, table: UInt64) throws -> [ExtBlockRun] {
        var tree = ExtBlockTree(geometry: geometry)
        var contents: [ExtBlockRun] = []
        var nodes: [ExtBlockRun] = []
        func take(_ run: ExtBlockRun) {
            if run.level == 0 { contents.append(run) } else { nodes.append(run) }
        }
        tree.forEachRoot(of: inode, role, take)
        var seen: Set<UInt64> = []
        while let node = nodes.popLast() {
            guard contents.count <= memoryLimit / MemoryLayout<ExtBlockRun>.stride else { throw Overflow() }
            guard seen.insert(node.block).inserted else { continue }
            followed.append((table, node.block..<node.block + 1))
            let bytes = try bytes(node.block, as: .indirect)
            tree.forEachChild(
                in: bytes.span.bytes, level: node.level, logicalBlock: node.logicalBlock, mapping: role.mapping,
                inode: role.number, take)
        }
        // What many inodes may claim again and again is work, too.
        budget -= contents.count / Self.runsForABlock
        return contents
    }

    private func collect(_ bytes: [UInt8], _ names: inout Set<UInt32>) {
        var found: [UInt32] = []
        // A block that is damaged further on still names what comes before.
        try? ExtDirectoryBlock.forEachEntry(
            in: bytes.span.bytes, hasFileTypes: geometry.superblock.hasFileTypes
        ) { entry in
            let name = entry.nameBytes(in: bytes.span.bytes)
            if name != [0x2E], name != [0x2E, 0x2E] { found.append(entry.inode) }
            return true
        }
        names.formUnion(found)
    }

    private mutating func bytes(_ block: UInt64, count: Int = 1, as blockClass: BlockClass) throws -> [UInt8] {
        budget -= count
        guard budget >= 0 else { throw Overflow() }
        let range = ByteRange(offset: Int(block) * geometry.blockSize, length: count * geometry.blockSize)
        let buffer = AlignedBuffer(count: range.length)
        try reader.read(range, as: blockClass, into: buffer.bytes)
        return Array(buffer.bytes)
    }
}

extension RawSpan {
    fileprivate func bytes(_ range: Range<Int>) -> [UInt8] {
        guard range.upperBound <= byteCount else { return [] }
        return range.map { unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
    }
}
