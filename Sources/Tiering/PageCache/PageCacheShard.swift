/// A part of the cache under one lock: its own slots, table, queues and ghosts.
///
/// Data and metadata are an S3-FIFO each (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023):
/// a page comes into the small queue, and goes on to the main queue only if it is used there or was let go not long
/// ago. Which segment makes room is the ``CacheBoundary``'s decision.
///
/// Sendable because the memory is its alone; the lock around it does the rest.
struct PageCacheShard: ~Copyable, @unchecked Sendable {
    /// The small queue has one in so many of a segment's pages when it has to give.
    private static let smallShare = 10
    /// So many pages are looked at for one that goes.
    private static let longestSearch = 64

    private let pages: UnsafeMutableRawPointer
    private let slots: UnsafeMutableBufferPointer<PageSlot>
    private let table: PageTable
    private let images: CacheImages
    private let boundary: CacheBoundary
    private let shardCount: Int
    private var queues = InlineArray<4, PageQueue>(repeating: PageQueue())
    private var free = PageQueue()
    private var dataGhosts: GhostTable
    private var metadataGhosts: GhostTable

    init(_ memory: ShardMemory, shardCount: Int, images: CacheImages, boundary: CacheBoundary) {
        pages = memory.pages
        slots = memory.slots
        slots.initialize(repeating: PageSlot())
        table = PageTable(memory.table)
        dataGhosts = GhostTable(memory.dataGhosts)
        metadataGhosts = GhostTable(memory.metadataGhosts)
        self.shardCount = shardCount
        self.images = images
        self.boundary = boundary
        for slot in 0..<UInt32(slots.count) {
            free.append(slot, in: slots)
        }
    }

    /// The address of a cached page, or nil.
    func page(_ key: PageKey) -> UnsafeMutableRawPointer? {
        guard let slot = table.slot(of: key, in: slots) else { return nil }
        return address(slot)
    }

    /// The address of a cached page by its place; nil when it is not there.
    func page(_ image: UInt32, _ index: Int) -> UnsafeMutableRawPointer? {
        guard let key = PageKey(image: image, index: index) else { return nil }
        return page(key)
    }

    /// The address of a cached page, which counts as used and as a hit of its label; nil when it is not there.
    mutating func hit(_ key: PageKey) -> UnsafeMutableRawPointer? {
        guard let slot = table.slot(of: key, in: slots) else { return nil }
        slots[Int(slot)].use()
        images.add(1, to: .hits, image: key.image, label: slots[Int(slot)].kind.label)
        return address(slot)
    }

    /// The address to fill for `key`: the page's own when it is there, otherwise that of a slot made free for it; nil
    /// when it finds no room.
    mutating func place(
        _ key: PageKey, kind: PageKind, admission: CacheAdmission
    ) -> UnsafeMutableRawPointer? {
        if let slot = table.slot(of: key, in: slots) {
            move(slot, to: kind)
            return address(slot)
        }
        let segment = kind.priority.segment
        let wasGhost = (admission == .read || admission == .readAhead) && takeGhost(key, of: segment)
        if wasGhost {
            images.add(1, to: .ghostHits, image: key.image, label: kind.label)
            boundary.noteGhostHit(segment)
        }
        guard let slot = takeSlot(for: key, kind, admission) else { return nil }
        slots[Int(slot)].key = key
        slots[Int(slot)].kind = kind
        slots[Int(slot)].uses = admission == .readAhead && !wasGhost ? PageSlot.readAhead : 0
        table.insert(slot, in: slots)
        append(slot, to: wasGhost ? .main(of: segment) : .small(of: segment))
        images.addResident(1, image: key.image, kind: kind)
        return address(slot)
    }

    mutating func remove(_ key: PageKey) {
        guard let slot = table.slot(of: key, in: slots) else { return }
        release(slot)
    }

    /// Removes the pages of `image` from the page `first` on that begin before the byte `end`.
    mutating func removeAll(of image: UInt32, from first: Int, to end: Int) {
        for slot in 0..<UInt32(slots.count) {
            let key = slots[Int(slot)].key
            guard key != .none, key.image == image, key.index >= first, key.index <= (end - 1) / PageCache.pageSize
            else { continue }
            release(slot)
        }
    }

    mutating func reclassify(_ key: PageKey, kind: PageKind) {
        guard let slot = table.slot(of: key, in: slots) else { return }
        move(slot, to: kind)
    }

    /// Gives those of `pages` of `image` that are cached another kind, whatever their number.
    mutating func reclassifyAll(of image: UInt32, in pages: ClosedRange<Int>, kind: PageKind) {
        for slot in 0..<UInt32(slots.count) {
            let key = slots[Int(slot)].key
            if key != .none, key.image == image, pages.contains(key.index) { move(slot, to: kind) }
        }
    }

    /// Appends the indices of the pages of `image`.
    func appendPages(of image: UInt32, to indices: inout [Int]) {
        for slot in slots where slot.key != .none && slot.key.image == image { indices.append(slot.key.index) }
    }

    private func address(_ slot: UInt32) -> UnsafeMutableRawPointer {
        pages + Int(slot) * PageCache.pageSize
    }

    // MARK: Queues

    private mutating func append(_ slot: UInt32, to queue: PageQueue.Name) {
        slots[Int(slot)].queue = queue
        queues[Int(queue.rawValue)].append(slot, in: slots)
    }

    private mutating func unlink(_ slot: UInt32) {
        queues[Int(slots[Int(slot)].queue.rawValue)].remove(slot, in: slots)
    }

    private func queue(_ name: PageQueue.Name) -> PageQueue { queues[Int(name.rawValue)] }

    private func count(of segment: CacheSegment) -> Int {
        queue(.small(of: segment)).count + queue(.main(of: segment)).count
    }

    private mutating func move(_ slot: UInt32, to kind: PageKind) {
        let old = slots[Int(slot)].kind
        guard old != kind else { return }
        let image = slots[Int(slot)].key.image
        images.addResident(-1, image: image, kind: old)
        images.addResident(1, image: image, kind: kind)
        slots[Int(slot)].kind = kind
        let segment = kind.priority.segment
        guard old.priority.segment != segment else { return }
        unlink(slot)
        append(slot, to: slots[Int(slot)].queue.isMain ? .main(of: segment) : .small(of: segment))
    }

    private mutating func release(_ slot: UInt32) {
        images.addResident(-1, image: slots[Int(slot)].key.image, kind: slots[Int(slot)].kind)
        table.remove(slot, in: slots)
        unlink(slot)
        slots[Int(slot)].key = .none
        free.append(slot, in: slots)
    }

    // MARK: Room

    private mutating func takeFree() -> UInt32? {
        let slot = free.head
        guard slot != PageSlot.none else { return nil }
        free.remove(slot, in: slots)
        return slot
    }

    private mutating func takeSlot(
        for key: PageKey, _ kind: PageKind, _ admission: CacheAdmission
    ) -> UInt32? {
        if let slot = takeFree() { return slot }
        let (segment, share) = (kind.priority.segment, boundary.metadataPages / shardCount)
        let metadata = count(of: .metadata)
        let isMetadataTheOneToGive = metadata > share || segment == .metadata && metadata == share
        guard admission == .background else {
            let giver: CacheSegment = isMetadataTheOneToGive ? .metadata : .data
            let other: CacheSegment = isMetadataTheOneToGive ? .data : .metadata
            let isFound = evict(from: giver, sparesFloors: true) || evict(from: other, sparesFloors: true)
            return isFound || evict(from: giver, sparesFloors: false) ? takeFree() : nil
        }
        guard segment == .metadata else { return nil }
        if isMetadataTheOneToGive, !images.isAtFloor(key.image) {
            return displaceUnused(below: kind.priority) ? takeFree() : nil
        }
        return evict(from: .data, sparesFloors: true) || evict(from: .metadata, sparesFloors: true) ? takeFree() : nil
    }

    /// Lets one page of `segment` go; returns whether there was one.
    ///
    /// - Parameter sparesFloors: whether metadata stays of images that have no more than their floor.
    private mutating func evict(from segment: CacheSegment, sparesFloors: Bool) -> Bool {
        let (small, main) = (PageQueue.Name.small(of: segment), PageQueue.Name.main(of: segment))
        for step in 1...Self.longestSearch {
            let isSmallDue = queue(small).count * Self.smallShare > count(of: segment) || queue(main).count == 0
            let slot = queue(isSmallDue ? small : main).head
            guard slot != PageSlot.none else { return false }
            let uses = slots[Int(slot)].uses
            let isSpared = sparesFloors && segment == .metadata && images.isAtFloor(slots[Int(slot)].key.image)
            let isUsed = uses > 0 && uses != PageSlot.readAhead
            // After so many that are all in use, the oldest goes.
            if !isSpared, !isUsed || step == Self.longestSearch {
                retire(slot)
                return true
            }
            unlink(slot)
            slots[Int(slot)].uses = isUsed ? uses - 1 : 0
            append(slot, to: main)
        }
        return false
    }

    /// Lets one page of metadata go that came in, was never used, and is worth less than `priority`.
    private mutating func displaceUnused(below priority: CachePriority) -> Bool {
        for _ in 0..<Self.longestSearch {
            let slot = queue(.small(of: .metadata)).head
            guard slot != PageSlot.none else { return false }
            let (uses, kind) = (slots[Int(slot)].uses, slots[Int(slot)].kind)
            guard uses > 0, uses != PageSlot.readAhead else {
                guard kind.priority < priority, !images.isAtFloor(slots[Int(slot)].key.image) else { return false }
                retire(slot)
                return true
            }
            unlink(slot)
            slots[Int(slot)].uses = uses - 1
            append(slot, to: .main(of: .metadata))
        }
        return false
    }

    private mutating func retire(_ slot: UInt32) {
        let (key, kind) = (slots[Int(slot)].key, slots[Int(slot)].kind)
        if kind.priority.segment == .metadata {
            metadataGhosts.insert(key.hash)
        } else {
            dataGhosts.insert(key.hash)
        }
        images.add(1, to: .evictions, image: key.image, label: kind.label)
        release(slot)
    }

    private mutating func takeGhost(_ key: PageKey, of segment: CacheSegment) -> Bool {
        segment == .metadata ? metadataGhosts.remove(key.hash) : dataGhosts.remove(key.hash)
    }
}
