/// A part of the cache under one lock: its own slots, table and queues.
///
/// Each priority is a queue of its own with a second chance: a page that was used since it came is put back once
/// instead of going. Room for a page is made by the lowest level that has pages, at most its own. Levels above data
/// may fill all but a reserve; data may use what they leave, and never displaces them.
///
/// Sendable because it owns its memory alone; the lock around it does the rest.
struct PageCacheShard: ~Copyable, @unchecked Sendable {
    /// The slots that only data may fill, as a share of all: one in sixteen.
    static let dataReserveShift = 4
    private static let secondChances = 8

    let pages: UnsafeMutableRawPointer
    private let slots: UnsafeMutableBufferPointer<PageSlot>
    private let table: PageTable
    private var queues = [PageQueue](repeating: PageQueue(), count: CachePriority.levelCount)
    private var free = PageQueue()
    private(set) var statistics = CacheStatistics()

    init(pages: UnsafeMutableRawPointer, slotCount: Int) {
        self.pages = pages
        slots = .allocate(capacity: slotCount)
        slots.initialize(repeating: PageSlot())
        table = PageTable(slotCount: slotCount)
        for slot in 0..<UInt32(slotCount) {
            free.append(slot, in: slots)
        }
    }

    deinit {
        slots.deallocate()
    }

    /// The address of a cached page, or nil.
    func page(_ key: PageKey) -> UnsafeMutableRawPointer? {
        guard let slot = table.slot(of: key, in: slots) else { return nil }
        return address(slot)
    }

    /// The address of a cached page, which counts as used and as a hit of its label; nil when it is not there.
    mutating func hit(_ key: PageKey) -> UnsafeMutableRawPointer? {
        guard let slot = table.slot(of: key, in: slots) else { return nil }
        slots[Int(slot)].wasUsed = true
        statistics.hits[Int(slots[Int(slot)].kind.label)] += 1
        return address(slot)
    }

    mutating func countMisses(_ count: Int, label: UInt8) {
        statistics.misses[Int(label)] += count
    }

    /// The address to fill for `key`: the page's own when it is there, otherwise that of a slot made free for it; nil
    /// when every page that could go is worth more.
    mutating func place(_ key: PageKey, kind: PageKind) -> UnsafeMutableRawPointer? {
        if let slot = table.slot(of: key, in: slots) {
            move(slot, to: kind)
            return address(slot)
        }
        guard let slot = takeSlot(for: kind.priority) else { return nil }
        slots[Int(slot)].key = key
        slots[Int(slot)].kind = kind
        slots[Int(slot)].wasUsed = false
        table.insert(slot, in: slots)
        queues[Int(kind.priority.rawValue)].append(slot, in: slots)
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

    /// The pages of each label that are cached now.
    func residentPages() -> [Int] {
        var counts = [Int](repeating: 0, count: PageKind.labelCount)
        for slot in slots where slot.key != .none {
            counts[Int(slot.kind.label)] += 1
        }
        return counts
    }

    private func address(_ slot: UInt32) -> UnsafeMutableRawPointer {
        pages + Int(slot) * PageCache.pageSize
    }

    private mutating func move(_ slot: UInt32, to kind: PageKind) {
        let old = slots[Int(slot)].kind
        slots[Int(slot)].kind = kind
        guard old.priority != kind.priority else { return }
        queues[Int(old.priority.rawValue)].remove(slot, in: slots)
        queues[Int(kind.priority.rawValue)].append(slot, in: slots)
    }

    private mutating func release(_ slot: UInt32) {
        table.remove(slot, in: slots)
        queues[Int(slots[Int(slot)].kind.priority.rawValue)].remove(slot, in: slots)
        slots[Int(slot)].key = .none
        free.append(slot, in: slots)
    }

    private mutating func takeSlot(for priority: CachePriority) -> UInt32? {
        let used = slots.count - free.count
        let reserve = slots.count >> Self.dataReserveShift
        let mayTakeReserve = priority == .data || used - queues[0].count < slots.count - reserve
        if free.count > 0, mayTakeReserve {
            let slot = free.head
            free.remove(slot, in: slots)
            return slot
        }
        let lowest = mayTakeReserve ? 0 : 1
        for level in lowest...max(lowest, Int(priority.rawValue)) where queues[level].count > 0 {
            evict(from: level)
            let slot = free.head
            free.remove(slot, in: slots)
            return slot
        }
        return nil
    }

    private mutating func evict(from level: Int) {
        for _ in 0..<Self.secondChances {
            let slot = queues[level].head
            guard slots[Int(slot)].wasUsed else { break }
            slots[Int(slot)].wasUsed = false
            queues[level].remove(slot, in: slots)
            queues[level].append(slot, in: slots)
        }
        let slot = queues[level].head
        statistics.evictions[Int(slots[Int(slot)].kind.label)] += 1
        release(slot)
    }
}
