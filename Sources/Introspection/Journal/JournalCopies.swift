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

    /// Those that count, and expired ones that were not swept yet.
    private var copies = SortedChunks<Copy>()
    /// Copies of transactions before this one do not count any more.
    private var horizon: UInt32?
    /// Whether copies before the horizon may be left, and from which block on.
    private var sweepsFrom: UInt64?
    /// Copies none of which counts any more.
    private var expired = SortedChunks<Copy>()

    var isEmpty: Bool { copies.isEmpty }
    var count: Int { copies.count }
    var memoryBytes: Int { copies.memoryBytes + expired.memoryBytes }
    /// Whether there are copies whose blocks ``sweep(_:)`` has not told yet.
    var hasExpired: Bool { sweepsFrom != nil || !expired.isEmpty }

    /// Keeps `copy`, and forgets an older one of its block. Returns false when there is no room for it.
    mutating func insert(_ copy: Copy) -> Bool {
        guard copies.count < Self.limit || self[copy.home] != nil else { return false }
        copies.insert(copy)
        return true
    }

    /// The copy of `block`.
    subscript(block: UInt64) -> Copy? {
        guard let position = copies.lastPosition(notAfter: block), copies[position].home == block,
            counts(copies[position])
        else { return nil }
        return copies[position]
    }

    private func counts(_ copy: Copy) -> Bool {
        horizon.map { !copy.sequence.isBefore($0) } ?? true
    }

    /// The copies of blocks in `range`, in order.
    func copies(in range: Range<UInt64>) -> [Copy] {
        var found: [Copy] = []
        var next = range.lowerBound == 0 ? copies.firstPosition : copies.firstPosition(after: range.lowerBound - 1)
        while let position = next, copies[position].home < range.upperBound {
            if counts(copies[position]) { found.append(copies[position]) }
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

    /// Has the copies of transactions before `sequence`, or all, count no more: at once, however many they are.
    ///
    /// - Returns: False when others had expired, which are forgotten before they were swept.
    mutating func expire(before sequence: UInt32?) -> Bool {
        guard let sequence else {
            defer { (copies, horizon, sweepsFrom) = (SortedChunks(), nil, nil) }
            guard !copies.isEmpty else { return true }
            defer { expired = copies }
            return expired.isEmpty
        }
        if !copies.isEmpty, horizon != sequence { (horizon, sweepsFrom) = (sequence, 0) }
        return true
    }

    /// Forgets expired copies, `limit` that are looked at; returns their blocks, which count as they are in place now.
    mutating func sweep(_ limit: Int) -> [UInt64] {
        var removed: [UInt64] = []
        while removed.count < limit, !expired.isEmpty { removed += expired.removeChunk(hand: 0).map(\.home) }
        guard removed.isEmpty, let start = sweepsFrom else { return removed }
        var next = start == 0 ? copies.firstPosition : copies.firstPosition(after: start - 1)
        var last: UInt64?
        for _ in 0..<limit {
            guard let position = next else { break }
            if !counts(copies[position]) { removed.append(copies[position].home) }
            last = copies[position].home
            next = copies.position(after: position)
        }
        sweepsFrom = next == nil ? nil : last.map { $0 + 1 }
        for block in removed { copies.remove(block) }
        return removed
    }
}

extension UInt32 {
    /// Whether this sequence number of a transaction comes before `other`; they wrap round.
    func isBefore(_ other: UInt32) -> Bool { Int32(bitPattern: self &- other) < 0 }
}
