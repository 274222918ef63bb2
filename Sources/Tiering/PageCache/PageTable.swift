/// An open-addressing hash table from page keys to slots, with linear probing and backward-shift deletion.
///
/// The table is allocated once, at twice the number of slots, so that a probe ends within a few steps and neither
/// look-up nor insertion ever allocates.
struct PageTable: ~Copyable {
    private let entries: UnsafeMutableBufferPointer<UInt32>
    private let mask: Int

    init(slotCount: Int) {
        var capacity = 16
        while capacity < slotCount * 2 { capacity *= 2 }
        entries = .allocate(capacity: capacity)
        entries.initialize(repeating: PageSlot.none)
        mask = capacity - 1
    }

    deinit {
        entries.deallocate()
    }

    /// The bytes that a table for `slotCount` slots takes.
    static func byteCount(slotCount: Int) -> Int {
        var capacity = 16
        while capacity < slotCount * 2 { capacity *= 2 }
        return capacity * MemoryLayout<UInt32>.stride
    }

    func slot(of key: PageKey, in slots: UnsafeMutableBufferPointer<PageSlot>) -> UInt32? {
        var position = Int(truncatingIfNeeded: key.hash) & mask
        while true {
            let slot = entries[position]
            if slot == PageSlot.none { return nil }
            if slots[Int(slot)].key == key { return slot }
            position = (position + 1) & mask
        }
    }

    /// Enters `slot`, whose key must not be in the table.
    func insert(_ slot: UInt32, in slots: UnsafeMutableBufferPointer<PageSlot>) {
        var position = Int(truncatingIfNeeded: slots[Int(slot)].key.hash) & mask
        while entries[position] != PageSlot.none {
            position = (position + 1) & mask
        }
        entries[position] = slot
    }

    /// Removes `slot`, which must be in the table under the key that it still holds.
    func remove(_ slot: UInt32, in slots: UnsafeMutableBufferPointer<PageSlot>) {
        var hole = Int(truncatingIfNeeded: slots[Int(slot)].key.hash) & mask
        while entries[hole] != slot {
            hole = (hole + 1) & mask
        }
        var position = hole
        while true {
            position = (position + 1) & mask
            let moved = entries[position]
            guard moved != PageSlot.none else { break }
            let home = Int(truncatingIfNeeded: slots[Int(moved)].key.hash) & mask
            if (position - home) & mask >= (position - hole) & mask {
                entries[hole] = moved
                hole = position
            }
        }
        entries[hole] = PageSlot.none
    }
}
