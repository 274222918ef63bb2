/// How much a page is worth to the cache.
///
/// What the levels stand for is the caller's affair. From ``firstOfMetadata`` on they share the segment of metadata,
/// those below the segment of data.
public struct CachePriority: RawRepresentable, Hashable, Comparable, Sendable {
    /// The number of levels.
    public static let levelCount = 5
    /// Bulk data: evicted first, and never at the cost of metadata that is in use.
    public static let data = CachePriority(rawValue: 0)
    /// The lowest level of metadata.
    public static let firstOfMetadata = CachePriority(rawValue: 2)

    /// The level, from 0 to `levelCount - 1`.
    public let rawValue: UInt8

    /// A level; values past the last are the last.
    @inlinable
    public init(rawValue: UInt8) {
        self.rawValue = min(rawValue, UInt8(Self.levelCount - 1))
    }

    /// Whether `left` is worth less.
    @inlinable
    public static func < (left: CachePriority, right: CachePriority) -> Bool { left.rawValue < right.rawValue }

    var segment: CacheSegment { self < Self.firstOfMetadata ? .data : .metadata }

    /// How many rounds through its queue one use is good for: the first level of a segment gets one, which makes of
    /// the counter a bit.
    var weight: UInt8 { rawValue - (segment == .metadata ? Self.firstOfMetadata.rawValue : 0) + 1 }
}

/// What the cache is told about a page: its priority, and a label under which hits and misses are counted.
public struct PageKind: Hashable, Sendable {
    /// The number of different labels.
    public static let labelCount = 32

    /// The priority.
    public let priority: CachePriority
    /// The caller's label for statistics, below `labelCount`.
    public let label: UInt8

    /// A kind of page; `label` is taken modulo `labelCount`.
    @inlinable
    public init(priority: CachePriority, label: UInt8) {
        self.priority = priority
        self.label = label % UInt8(Self.labelCount)
    }
}

/// On whose account a page comes into the cache.
public enum CacheAdmission: Sendable {
    /// A client waits for it.
    case read
    /// A client wrote it.
    case write
    /// A client is expected to ask for it; that it does then is no second use.
    case readAhead
    /// A scan has read it: it takes room that is free or that data has above its share, and makes nothing go that is
    /// in use or worth as much.
    case background
}

/// The two parts of the cache, each with queues and ghosts of its own.
enum CacheSegment: UInt8 {
    case data, metadata
}

/// A page's name: the number of its image in the upper 20 bits, one above its index in the image in the lower 44.
///
/// A page whose index does not fit has no key, so that no two pages ever share one.
struct PageKey: Hashable {
    static let indexBits: UInt64 = 44
    /// Pages from here on have no key.
    static let pageLimit = 1 << Int(indexBits) - 1
    static let none = PageKey(rawValue: 0)

    private static let imageLimit: UInt32 = 1 << (64 - UInt32(indexBits))

    let rawValue: UInt64

    private init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    init?(image: UInt32, index: Int) {
        guard image < Self.imageLimit, (0..<Self.pageLimit).contains(index) else { return nil }
        rawValue = UInt64(image) << Self.indexBits | UInt64(index + 1)
    }

    var image: UInt32 { UInt32(truncatingIfNeeded: rawValue >> Self.indexBits) }

    var index: Int { Int(rawValue & (1 << Self.indexBits - 1)) - 1 }

    /// A well-mixed hash of the key (the finaliser of SplitMix64).
    var hash: UInt64 {
        var value = rawValue
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// What a slot of the slab holds, and its place in a queue.
struct PageSlot {
    static let none = UInt32.max
    /// In place of `uses`: was read ahead, and nobody has asked for it yet.
    static let readAhead = UInt8.max

    var key = PageKey.none
    var previous = PageSlot.none
    var next = PageSlot.none
    var kind = PageKind(priority: .data, label: 0)
    var queue = PageQueue.Name.small(of: .data)
    /// Rounds that the page has left.
    var uses: UInt8 = 0

    /// Takes note that a client asked for the page.
    mutating func use() {
        uses = uses == Self.readAhead ? 0 : kind.priority.weight
    }
}
