/// Remembers which pages a segment has let go, so that those that are soon asked for again are known to be worth
/// keeping.
///
/// Buckets of eight entries, a cache line each, hold fingerprints of keys and the times they were let go, in pages
/// let go since; what is older than the table's window is forgotten. A wrong match costs a page a place in a queue.
struct GhostTable {
    private static let bucketSize = 8

    private let entries: UnsafeMutableBufferPointer<UInt64>
    private let window: UInt32
    private var time: UInt32 = 0

    /// A table in `entries`, which are zeros.
    init(_ entries: UnsafeMutableBufferPointer<UInt64>) {
        self.entries = entries
        window = UInt32(truncatingIfNeeded: entries.count)
    }

    /// The number of entries for a window of at least `pages`.
    static func entryCount(pages: Int) -> Int {
        (pages + bucketSize - 1) / bucketSize * bucketSize
    }

    /// Remembers the page with this hash, in place of the oldest of its bucket.
    mutating func insert(_ hash: UInt64) {
        time &+= 1
        let bucket = bucket(of: hash)
        var place = bucket.lowerBound
        for index in bucket where age(entries[index]) > age(entries[place]) {
            place = index
        }
        entries[place] = Self.fingerprint(hash) | UInt64(time)
    }

    /// Forgets the page with this hash; returns whether it was known.
    mutating func remove(_ hash: UInt64) -> Bool {
        let fingerprint = Self.fingerprint(hash)
        for index in bucket(of: hash) where entries[index] & ~UInt64(UInt32.max) == fingerprint {
            defer { entries[index] = 0 }
            return age(entries[index]) < window
        }
        return false
    }

    /// Pages let go since this one; an empty entry is the oldest.
    private func age(_ entry: UInt64) -> UInt32 {
        entry == 0 ? .max : time &- UInt32(truncatingIfNeeded: entry)
    }

    private func bucket(of hash: UInt64) -> Range<Int> {
        let bucketCount = UInt64(entries.count / Self.bucketSize)
        let start = Int(truncatingIfNeeded: ((hash & UInt64(UInt32.max)) &* bucketCount) >> 32) * Self.bucketSize
        return start..<start + Self.bucketSize
    }

    private static func fingerprint(_ hash: UInt64) -> UInt64 {
        (hash | 1 << 32) & ~UInt64(UInt32.max)
    }
}
