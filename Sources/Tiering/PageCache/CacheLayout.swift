/// How the memory of a cache is divided: pages, then slots, hash tables, ghosts and counters of images.
///
/// All of it lies in one mapping, so that the limit holds for everything that the cache ever takes.
struct CacheLayout {
    private static let maximumShardCount = 16
    private static let minimumPagesPerShard = 1024
    /// A number for an image costs so much of the budget that it is worth so many bytes.
    private static let bytesPerImage = 1 << 18
    private static let imageCounts = 16...16_384
    private static let alignment = 64

    let shardCount: Int
    let slotsPerShard: Int
    /// Rows of counters, that of past images included.
    let imageRowCount: Int

    /// As many pages as fit `byteCount`.
    init(byteCount: Int) {
        let perPage = PageCache.pageSize + MemoryLayout<PageSlot>.stride
        var shardCount = 1
        while shardCount < Self.maximumShardCount,
            byteCount / perPage / (shardCount * 2) >= Self.minimumPagesPerShard
        {
            shardCount *= 2
        }
        let images = min(max(byteCount / Self.bytesPerImage, Self.imageCounts.lowerBound), Self.imageCounts.upperBound)
        var slots = byteCount / perPage / shardCount
        while slots > 1 {
            let layout = CacheLayout(shardCount: shardCount, slotsPerShard: slots, imageRowCount: images + 1)
            let excess = layout.byteCount - byteCount
            guard excess > 0 else { break }
            slots -= max(1, excess / perPage / shardCount / 2)
        }
        self.init(shardCount: shardCount, slotsPerShard: slots, imageRowCount: images + 1)
    }

    private init(shardCount: Int, slotsPerShard: Int, imageRowCount: Int) {
        (self.shardCount, self.slotsPerShard, self.imageRowCount) = (shardCount, slotsPerShard, imageRowCount)
    }

    var pageCount: Int { shardCount * slotsPerShard }

    /// All bytes.
    var byteCount: Int { imageOffset + Self.align(CacheImages.byteCount(rowCount: imageRowCount)) }

    /// Where the counters of images begin.
    var imageOffset: Int { pageCount * PageCache.pageSize + shardCount * indexByteCount }

    /// The memory of one shard.
    func memory(ofShard number: Int, in slab: UnsafeMutableRawPointer) -> ShardMemory {
        var next = slab + pageCount * PageCache.pageSize + number * indexByteCount
        func take<Element>(_ count: Int, of type: Element.Type) -> UnsafeMutableBufferPointer<Element> {
            defer { next += Self.align(count * MemoryLayout<Element>.stride) }
            return UnsafeMutableBufferPointer(start: next.bindMemory(to: type, capacity: count), count: count)
        }
        return ShardMemory(
            pages: slab + number * slotsPerShard * PageCache.pageSize,
            slots: take(slotsPerShard, of: PageSlot.self),
            table: take(PageTable.capacity(slotCount: slotsPerShard), of: UInt32.self),
            dataGhosts: take(GhostTable.entryCount(pages: slotsPerShard), of: UInt64.self),
            metadataGhosts: take(GhostTable.entryCount(pages: slotsPerShard), of: UInt64.self))
    }

    private var indexByteCount: Int {
        Self.align(slotsPerShard * MemoryLayout<PageSlot>.stride)
            + Self.align(PageTable.capacity(slotCount: slotsPerShard) * MemoryLayout<UInt32>.stride)
            + 2 * Self.align(GhostTable.entryCount(pages: slotsPerShard) * MemoryLayout<UInt64>.stride)
    }

    private static func align(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }
}

/// The memory of one shard, zeros at first.
struct ShardMemory {
    let pages: UnsafeMutableRawPointer
    let slots: UnsafeMutableBufferPointer<PageSlot>
    let table: UnsafeMutableBufferPointer<UInt32>
    let dataGhosts: UnsafeMutableBufferPointer<UInt64>
    let metadataGhosts: UnsafeMutableBufferPointer<UInt64>
}
