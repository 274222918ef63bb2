import GuestFilesystems

/// Says for the fixed blocks of an ext file system which ones have to be digested when they are written, and as what.
struct ExtPlaces: Hashable, Sendable {
    /// What a fixed block is, as far as a digest is concerned.
    enum Place: Hashable, Sendable {
        /// The block with the primary superblock.
        case superblock
        /// The primary copy of the descriptor block with this number.
        case descriptors(Int)
        /// The block bitmap of a group.
        case blockBitmap(Int)
        /// A block of a group's inode table, counted from the start of the table.
        case inodeTable(group: Int, index: Int)
    }

    private struct Entry: Hashable, Sendable {
        var block: UInt64
        var count: UInt64
        var place: Place
    }

    /// Sorted; where structures overlap, each of them begins an entry, but one only begins in a block: however many
    /// groups have the same bitmap, the steps for a write are as many as its blocks.
    private let entries: [Entry]

    init(_ geometry: ExtGeometry, _ descriptors: [ExtGroupDescriptor]) {
        let superblock = UInt64(ExtSuperblock.offset / geometry.blockSize)
        var entries = [Entry(block: superblock, count: 1, place: .superblock)]
        for index in 0..<geometry.descriptorBlockCount {
            entries.append(Entry(block: geometry.descriptorBlock(index), count: 1, place: .descriptors(index)))
        }
        for (group, descriptor) in descriptors.enumerated() {
            if let block = geometry.blockBitmap(descriptor) {
                entries.append(Entry(block: block, count: 1, place: .blockBitmap(group)))
            }
            if let table = geometry.inodeTable(descriptor) {
                entries.append(
                    Entry(
                        block: table.lowerBound, count: UInt64(table.count),
                        place: .inodeTable(group: group, index: 0)))
            }
        }
        entries.sort { $0.block < $1.block }
        var last: UInt64?
        self.entries = entries.filter { entry in
            defer { last = entry.block }
            return entry.block != last
        }
    }

    var memoryBytes: Int { entries.capacity * MemoryLayout<Entry>.stride }

    /// What `block` is; nil for blocks whose content decides nothing, such as backups and inode bitmaps.
    func place(of block: UInt64) -> Place? {
        let index = entries.partitioningIndex { $0.block > block } - 1
        guard index >= 0 else { return nil }
        let entry = entries[index]
        guard block - entry.block < entry.count else { return nil }
        if case .inodeTable(let group, _) = entry.place {
            return .inodeTable(group: group, index: Int(block - entry.block))
        }
        return entry.place
    }

    /// Calls `body` with the parts of `range` that have to be digested.
    func forEachDigestible(in range: Range<UInt64>, _ body: (Range<UInt64>) -> Void) {
        var index = max(0, entries.partitioningIndex { $0.block > range.lowerBound } - 1)
        while index < entries.count, entries[index].block < range.upperBound {
            let entry = entries[index]
            let part = range.clamped(to: entry.block..<entry.block + entry.count)
            if !part.isEmpty { body(part) }
            index += 1
        }
    }
}
