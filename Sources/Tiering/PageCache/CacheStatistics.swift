/// Counts of pages by label, since the cache was made.
public struct CacheStatistics: Sendable {
    /// Pages answered from the cache.
    public internal(set) var hits = [Int](repeating: 0, count: PageKind.labelCount)
    /// Pages that had to be read.
    public internal(set) var misses = [Int](repeating: 0, count: PageKind.labelCount)
    /// Pages that made room for others.
    public internal(set) var evictions = [Int](repeating: 0, count: PageKind.labelCount)
    /// Pages in the cache now.
    public internal(set) var resident = [Int](repeating: 0, count: PageKind.labelCount)

    init() {}

    mutating func add(_ other: CacheStatistics) {
        for label in 0..<PageKind.labelCount {
            hits[label] += other.hits[label]
            misses[label] += other.misses[label]
            evictions[label] += other.evictions[label]
            resident[label] += other.resident[label]
        }
    }
}
