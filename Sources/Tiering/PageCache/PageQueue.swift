/// A first-in-first-out queue of slots, linked through the slots themselves.
struct PageQueue {
    private(set) var head = PageSlot.none
    private var tail = PageSlot.none
    private(set) var count = 0

    mutating func append(_ slot: UInt32, in slots: UnsafeMutableBufferPointer<PageSlot>) {
        slots[Int(slot)].previous = tail
        slots[Int(slot)].next = PageSlot.none
        if tail == PageSlot.none {
            head = slot
        } else {
            slots[Int(tail)].next = slot
        }
        tail = slot
        count += 1
    }

    mutating func remove(_ slot: UInt32, in slots: UnsafeMutableBufferPointer<PageSlot>) {
        let (previous, next) = (slots[Int(slot)].previous, slots[Int(slot)].next)
        if previous == PageSlot.none {
            head = next
        } else {
            slots[Int(previous)].next = next
        }
        if next == PageSlot.none {
            tail = previous
        } else {
            slots[Int(next)].previous = previous
        }
        count -= 1
    }
}
