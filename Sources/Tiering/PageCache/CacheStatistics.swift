/// Counts of pages by label, since the cache was made.
public struct CacheStatistics: Sendable {
    /// Pages answered from the cache.
    public internal(set) var hits = [Int](repeating: 0, count: PageKind.labelCount)
    /// Pages that had to be read.
    public internal(set) var misses = [Int](repeating: 0, count: PageKind.labelCount)
    /// Pages that had to be read though they had been in the cache not long before.
    public internal(set) var ghostHits = [Int](repeating: 0, count: PageKind.labelCount)
    /// Pages that made room for others.
    public internal(set) var evictions = [Int](repeating: 0, count: PageKind.labelCount)
    /// Pages in the cache now.
    public internal(set) var resident = [Int](repeating: 0, count: PageKind.labelCount)

    /// Nothing counted yet.
    public init() {}

    /// Adds what was counted elsewhere, label by label.
    public static func += (left: inout CacheStatistics, right: CacheStatistics) {
        for label in 0..<PageKind.labelCount {
            left.hits[label] += right.hits[label]
            left.misses[label] += right.misses[label]
            left.ghostHits[label] += right.ghostHits[label]
            left.evictions[label] += right.evictions[label]
            left.resident[label] += right.resident[label]
        }
    }
}
