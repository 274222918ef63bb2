/// What `introspectd` reports of itself in `statistics.json`, as far as the test bed asks.
public struct ServerReport: Codable, Sendable {
    /// The RAM cache.
    public struct Cache: Codable, Sendable {
        /// The bytes of a page.
        public var pageSize: Int
        /// Pages that clients asked for and the cache had, by class.
        public var hits: [String: Int]
        /// Pages that clients asked for and that had to be read, by class.
        public var misses: [String: Int]

        /// What was counted since `earlier`, a report of the same run of the server.
        public func since(_ earlier: Cache) -> Cache {
            func difference(_ now: [String: Int], _ then: [String: Int]) -> [String: Int] {
                now.merging(then.mapValues { -$0 }, uniquingKeysWith: +).filter { $0.value != 0 }
            }
            return Cache(
                pageSize: pageSize, hits: difference(hits, earlier.hits), misses: difference(misses, earlier.misses))
        }
    }

    /// An image that introspection follows.
    public struct Image: Codable, Sendable {
        /// The image's file.
        public var path: String
        /// How far introspection has come.
        public var state: String
        /// Whether a scan or digest runs or is due.
        public var isBusy: Bool
        /// The memory of the class map in bytes.
        public var mapMemoryBytes: Int
        /// What the last scan took; nil before the first.
        public var scan: Scan?
    }

    /// What a scan took.
    public struct Scan: Codable, Sendable {
        /// Seconds.
        public var seconds: Double
        /// The bytes that it read.
        public var bytesRead: Int
        /// The reads that it made.
        public var readCount: Int
    }

    /// The RAM cache.
    public var cache: Cache
    /// The images, by path.
    public var images: [Image]
}
