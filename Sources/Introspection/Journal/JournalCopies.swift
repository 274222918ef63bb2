/// Where the newest committed copy of each block is that has not been written in place since its commit.
///
/// Until then the file system's own place holds what the block was before.
struct JournalCopies: Sendable {
    /// The newest copy of one block, in 16 bytes.
    struct Copy: Keyed, Equatable {
        private var packed: UInt64
        /// The block of the journal that holds it.
        var index: UInt32
        /// The transaction that it belongs to.
        var sequence: UInt32

        init(_ copy: JournalFollower.Copy, sequence: UInt32) {
            packed = copy.home << 1 | (copy.isEscaped ? 1 : 0)
            index = copy.index
            self.sequence = sequence
        }

        var key: UInt64 { home }
        var home: UInt64 { packed >> 1 }
        var isEscaped: Bool { packed & 1 == 1 }
    }

    /// The most copies that are kept: 1 MiB. A block without one is read where it always is.
    static let limit = 65_536

    private var copies = SortedChunks<Copy>()

    var isEmpty: Bool { copies.isEmpty }
    var count: Int { copies.count }
    var memoryBytes: Int { copies.memoryBytes }

    /// Keeps `copy`, and forgets an older one of its block. Returns false when there is no room for it.
    mutating func insert(_ copy: Copy) -> Bool {
        guard copies.count < Self.limit || self[copy.home] != nil else { return false }
        copies.insert(copy)
        return true
    }

    /// The copy of `block`.
    subscript(block: UInt64) -> Copy? {
        guard let position = copies.lastPosition(notAfter: block), copies[position].home == block else { return nil }
        return copies[position]
    }

    /// The copies of blocks in `range`, in order.
    func copies(in range: Range<UInt64>) -> [Copy] {
        var found: [Copy] = []
        var next = range.lowerBound == 0 ? copies.firstPosition : copies.firstPosition(after: range.lowerBound - 1)
        while let position = next, copies[position].home < range.upperBound {
            found.append(copies[position])
            next = copies.position(after: position)
        }
        return found
    }

    /// Forgets the copies of the blocks of `range`: they were written in place.
    mutating func remove(_ range: Range<UInt64>) {
        while let position = range.lowerBound == 0
            ? copies.firstPosition : copies.firstPosition(after: range.lowerBound - 1),
            copies[position].home < range.upperBound
        {
            copies.remove(copies[position].home)
        }
    }

    /// Forgets the copies of transactions before `sequence`, or all; returns their blocks.
    mutating func removeAll(before sequence: UInt32?) -> [UInt64] {
        var removed: [UInt64] = []
        copies.forEach {
            if let sequence, !$0.sequence.isBefore(sequence) { return }
            removed.append($0.home)
        }
        for block in removed { copies.remove(block) }
        return removed
    }
}

extension UInt32 {
    /// Whether this sequence number of a transaction comes before `other`; they wrap round.
    func isBefore(_ other: UInt32) -> Bool { Int32(bitPattern: self &- other) < 0 }
}
