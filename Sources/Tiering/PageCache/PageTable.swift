/// An open-addressing hash table from page keys to slots, with linear probing and backward-shift deletion.
///
/// The table has twice as many entries as there are slots, so that a probe ends within a few steps, and lies in memory
/// that it is given: neither look-up nor insertion ever allocates.
struct PageTable {
    private let entries: UnsafeMutableBufferPointer<UInt32>
    private let mask: Int

    /// An empty table in `entries`, of which there are ``capacity(slotCount:)``.
    init(_ entries: UnsafeMutableBufferPointer<UInt32>) {
        self.entries = entries
        entries.initialize(repeating: PageSlot.none)
        mask = entries.count - 1
    }

    /// The entries of a table for `slotCount` slots: a power of two.
    static func capacity(slotCount: Int) -> Int {
        var capacity = 16
        while capacity < slotCount * 2 { capacity *= 2 }
        return capacity
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
