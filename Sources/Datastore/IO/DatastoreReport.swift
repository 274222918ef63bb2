import BlockStorage
import Introspection
import Tiering

/// What the server knows and has done, for people and programs.
public struct DatastoreReport: Codable, Sendable {
    /// Pages of the RAM cache, counted by class.
    public struct PageCounts: Codable, Sendable {
        /// Pages that clients asked for and the cache had.
        public var hits: [String: Int]
        /// Pages that clients asked for and that had to be read.
        public var misses: [String: Int]
        /// Pages that had to be read though they had been in the cache not long before.
        public var ghostHits: [String: Int]
        /// Pages that made room for others.
        public var evictions: [String: Int]
        /// Pages in the cache now.
        public var resident: [String: Int]

        /// Counts by the names of classes.
        public init(
            hits: [String: Int] = [:], misses: [String: Int] = [:], ghostHits: [String: Int] = [:],
            evictions: [String: Int] = [:], resident: [String: Int] = [:]
        ) {
            (self.hits, self.misses, self.ghostHits) = (hits, misses, ghostHits)
            (self.evictions, self.resident) = (evictions, resident)
        }
    }

    /// The RAM cache, and its pages since the start, those of images that are gone included.
    public struct Cache: Codable, Sendable {
        /// The memory that the cache may take, in bytes, everything included.
        public var bytes: Int
        /// The part of it that metadata keeps when data wants room, in bytes.
        public var metadataBytes: Int
        /// The bytes of a page.
        public var pageSize: Int
        /// See ``PageCounts/hits``.
        public var hits: [String: Int]
        /// See ``PageCounts/misses``.
        public var misses: [String: Int]
        /// See ``PageCounts/ghostHits``.
        public var ghostHits: [String: Int]
        /// See ``PageCounts/evictions``.
        public var evictions: [String: Int]
        /// See ``PageCounts/resident``.
        public var resident: [String: Int]

        /// The counts by themselves.
        public var counts: PageCounts {
            PageCounts(hits: hits, misses: misses, ghostHits: ghostHits, evictions: evictions, resident: resident)
        }
    }

    /// One disk image that introspection follows.
    public struct Image: Codable, Sendable {
        /// The image's file, or its descriptor.
        public var path: String
        /// The image format.
        public var format: String
        /// The size of the virtual disk in bytes.
        public var size: Int
        /// How far introspection has come; `incomplete` when it is current but for what was damaged, or not understood.
        public var state: String
        /// Why the map is behind, if it is.
        public var staleReason: String?
        /// What was damaged, or not understood, in the last scan, a line each.
        public var problems: [String]
        /// Whether a scan or digest runs or is due.
        public var isBusy: Bool
        /// The guest file systems.
        public var fileSystems: [Introspection.FileSystemStatus]
        /// Bytes of the disk by class.
        public var classes: [String: Int]
        /// Bytes written that no structure has claimed yet.
        public var pendingBytes: Int
        /// What became of pending bytes since the last scan.
        public var deferred: DeferredBytes
        /// The memory of the class map in bytes.
        public var mapMemoryBytes: Int
        /// What the last scan took.
        public var scan: Scan?
        /// The image's pages in the cache, as long as its files are open.
        public var cache: PageCounts
    }

    /// A file that seems to be an image and is served as a plain file.
    public struct ForeignImage: Codable, Sendable {
        /// The file.
        public var path: String
        /// Why introspection does not follow it.
        public var reason: String
    }

    /// What a scan took.
    public struct Scan: Codable, Sendable {
        /// How long it took, in seconds.
        public var seconds: Double
        /// The bytes it read.
        public var bytesRead: Int
        /// The reads it made.
        public var readCount: Int
    }

    /// The RAM cache.
    public var cache: Cache
    /// The images, by path.
    public var images: [Image]
    /// Files that seem to be images of a kind that is not understood, by path.
    public var foreignImages: [ForeignImage]?
}

extension Datastore {
    /// What the server knows and has done until now.
    public func report() -> DatastoreReport {
        let counts = DatastoreReport.PageCounts(files.cache.statistics())
        return DatastoreReport(
            cache: DatastoreReport.Cache(
                bytes: files.cache.byteCount, metadataBytes: files.cache.metadataByteCount,
                pageSize: PageCache.pageSize, hits: counts.hits, misses: counts.misses, ghostHits: counts.ghostHits,
                evictions: counts.evictions, resident: counts.resident),
            images: files.sessions.map(DatastoreReport.Image.init),
            foreignImages: files.foreignImages.map {
                DatastoreReport.ForeignImage(path: $0.path, reason: $0.reason)
            })
    }

    /// Calls `body` for each image with its path and the runs of its virtual disk, in order: what introspection takes each
    /// block for, now. Of a disk with more runs than its bytes on the server are worth the last is one of unknown blocks.
    public func forEachClassMap(_ body: (_ path: String, _ runs: [(ByteRange, BlockClass)]) -> Void) {
        for session in files.sessions where session.lastScan != nil {
            body(session.image.path, session.classMap())
        }
    }
}

extension DatastoreReport.PageCounts {
    init(_ statistics: CacheStatistics) {
        func byClass(_ counts: [Int]) -> [String: Int] {
            var named: [String: Int] = [:]
            for blockClass in BlockClass.allCases where counts[Int(blockClass.rawValue)] > 0 {
                named[blockClass.name] = counts[Int(blockClass.rawValue)]
            }
            return named
        }
        self.init(
            hits: byClass(statistics.hits), misses: byClass(statistics.misses),
            ghostHits: byClass(statistics.ghostHits), evictions: byClass(statistics.evictions),
            resident: byClass(statistics.resident))
    }
}

extension DatastoreReport.Image {
    init(_ session: ImageSession) {
        let status = session.introspector.status
        path = session.image.path
        format = session.image.format.rawValue
        size = session.image.size
        problems = session.lastScan?.problems ?? []
        state = status.state == .current && !problems.isEmpty ? "incomplete" : status.state.rawValue
        staleReason = status.staleReason
        isBusy = session.isBusy
        fileSystems = status.fileSystems
        classes = Dictionary(uniqueKeysWithValues: status.totals.entries.map { ($0.blockClass.name, $0.bytes) })
        pendingBytes = status.pendingBytes
        deferred = status.deferred
        mapMemoryBytes = status.mapMemoryBytes
        scan = session.lastScan.map {
            DatastoreReport.Scan(
                seconds: $0.duration / .seconds(1), bytesRead: $0.bytesRead, readCount: $0.readCount)
        }
        cache = DatastoreReport.PageCounts(session.cacheStatistics)
    }
}
