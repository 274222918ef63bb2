/// A first-in-first-out queue of slots, linked through the slots themselves.
struct PageQueue {
    /// Which of a shard's queues.
    struct Name: RawRepresentable, Equatable {
        static let count = 4

        let rawValue: UInt8

        /// Where pages of `segment` come in.
        static func small(of segment: CacheSegment) -> Name { Name(rawValue: segment.rawValue * 2) }

        /// Where those stay that were used.
        static func main(of segment: CacheSegment) -> Name { Name(rawValue: segment.rawValue * 2 + 1) }

        var isMain: Bool { rawValue & 1 != 0 }
    }

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
