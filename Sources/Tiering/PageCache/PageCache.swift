import BlockStorage
import Glibc
import Synchronization

/// A RAM cache of 4 KiB pages of images, over one page-aligned slab of fixed size.
///
/// All images share the budget, which includes the index, the ghosts and the counters. The cache is divided into shards
/// by groups of 64 neighbouring pages, each under a lock of its own, so that a READ of up to 256 KiB takes one or two
/// locks. No call blocks on anything but such a lock, and none allocates memory except where it returns an array.
/// Which pages stay is told at ``PageCacheShard`` and ``CacheBoundary``.
///
/// Pages past ``byteLimit`` of an image are not cached: reading them fails, changing them does nothing.
///
/// The cache knows nothing of files: keeping it equal to the image is the duty of whoever fills it, who sees to it
/// that no page is inserted from bytes that were read before a later write (see the datastore's `RangeTable`).
public final class PageCache: Sendable {
    /// The bytes of a page.
    public static let pageSize = 4096
    /// The smallest cache, in bytes.
    public static let minimumByteCount = 1 << 20

    /// The bytes of an image that the cache has names for: 64 PiB less a page.
    public static let byteLimit = PageKey.pageLimit * pageSize

    static let groupShift = 6

    /// The memory in bytes that the cache takes when full, everything included.
    public let byteCount: Int
    /// The number of pages that fit.
    public let pageCount: Int

    let slab: Slab
    private let shards: Shards
    private let images: CacheImages
    private let boundary: CacheBoundary

    /// Makes an empty cache that takes at most `byteCount` bytes (at least ``minimumByteCount``), or nil when the
    /// operating system does not have them.
    public init?(byteCount requested: Int) {
        let layout = CacheLayout(byteCount: max(requested, Self.minimumByteCount))
        guard let slab = Slab(byteCount: layout.byteCount) else { return nil }
        self.slab = slab
        images = CacheImages(
            slab.base + layout.imageOffset, rowCount: layout.imageRowCount, pageCount: layout.pageCount)
        boundary = CacheBoundary(pageCount: layout.pageCount)
        shards = Shards(layout, slab: slab.base, images: images, boundary: boundary)
        pageCount = layout.pageCount
        byteCount = layout.byteCount
    }

    // MARK: Images

    /// A number under which pages of a new image are kept, or nil when the cache has no more: it is too small for so
    /// many.
    public func addImage() -> UInt32? { images.add() }

    /// Forgets all pages of an image and takes its number back; nobody may use it from now on.
    public func removeImage(_ image: UInt32) {
        guard images.isValid(image) else { return }
        removeAll(image: image)
        images.remove(image)
    }

    /// The counts of all images together, also of those that are gone.
    public func statistics() -> CacheStatistics { images.statistics() }

    /// The counts of one image.
    public func statistics(of image: UInt32) -> CacheStatistics { images.statistics(of: image) }

    /// The bytes that metadata may keep when data wants room.
    public var metadataByteCount: Int { boundary.metadataPages * Self.pageSize }

    /// Counts pages that had to be read.
    public func countMisses(_ count: Int, image: UInt32, label: UInt8) {
        images.add(count, to: .misses, image: image, label: label % UInt8(PageKind.labelCount))
    }

    // MARK: Reading

    /// Copies `range` of `image` to `destination` (of the same length) if every page of it is cached.
    ///
    /// - Parameter countsHits: whether statistics and the order of eviction are to know of it: not of reads in the
    ///   background.
    /// - Returns: whether it was; when not, `destination` may have been written in part, and no hit is counted.
    public func read(
        image: UInt32, range: ByteRange, into destination: UnsafeMutableRawBufferPointer, countsHits: Bool = true
    ) -> Bool {
        // A range in one group is looked at and copied under one lock.
        guard Self.isInOneGroup(range) || isCached(image: image, range: range) else { return false }
        guard range.end <= Self.byteLimit else { return false }
        return forEachGroup(of: range) { shard, pages in
            if pages.count > 1 {
                guard pages.allSatisfy({ shard.page(image, $0) != nil }) else { return false }
            }
            for index in pages {
                guard let key = PageKey(image: image, index: index),
                    let page = countsHits ? shard.hit(key) : shard.page(key)
                else { return false }
                Self.copy(page: UnsafeRawPointer(page), index: index, of: range, to: destination)
            }
            return true
        }
    }

    /// Whether every page of `range` is cached now.
    public func isCached(image: UInt32, range: ByteRange) -> Bool {
        guard range.end <= Self.byteLimit else { return false }
        return forEachGroup(of: range) { shard, pages in
            pages.allSatisfy { shard.page(image, $0) != nil }
        }
    }

    /// Copies what is cached of `range` to `destination` and counts it as hits.
    ///
    /// - Returns: the parts of `range` that are missing, merged and in order.
    public func readPresent(
        image: UInt32, range: ByteRange, into destination: UnsafeMutableRawBufferPointer
    ) -> [ByteRange] {
        var missing: [ByteRange] = []
        _ = forEachGroup(of: range) { shard, pages in
            for index in pages {
                if let key = PageKey(image: image, index: index), let page = shard.hit(key) {
                    Self.copy(page: UnsafeRawPointer(page), index: index, of: range, to: destination)
                } else if let part = Self.range(ofPage: index).intersection(range) {
                    missing.appendMerging(part)
                }
            }
            return true
        }
        Self.uncachedPart(of: range).map { missing.appendMerging($0) }
        return missing
    }

    /// The parts of `range` that are not cached, merged and in order, without a trace in statistics or use bits.
    public func missing(image: UInt32, range: ByteRange) -> [ByteRange] {
        var missing: [ByteRange] = []
        _ = forEachGroup(of: range) { shard, pages in
            for index in pages where shard.page(image, index) == nil {
                guard let part = Self.range(ofPage: index).intersection(range) else { continue }
                missing.appendMerging(part)
            }
            return true
        }
        Self.uncachedPart(of: range).map { missing.appendMerging($0) }
        return missing
    }

    // MARK: Changing

    /// Caches the whole pages of `bytes`, which stand at `offset` of `image`; pages that are there get the new
    /// contents and kind, pages that find no room are left out.
    ///
    /// A page that `bytes` covers in part is updated when it is there.
    public func insert(
        image: UInt32, offset: Int, bytes: UnsafeRawBufferPointer, kind: PageKind, admission: CacheAdmission = .read
    ) {
        guard images.isValid(image) else { return }
        let range = ByteRange(offset: offset, length: bytes.count)
        _ = forEachGroup(of: range) { shard, pages in
            for index in pages {
                guard let key = PageKey(image: image, index: index) else { continue }
                let isWhole = range.contains(Self.range(ofPage: index))
                guard let page = isWhole ? shard.place(key, kind: kind, admission: admission) : shard.page(key)
                else { continue }
                Self.copy(bytes, of: range, toPage: page, index: index)
            }
            return true
        }
    }

    /// Overwrites what is cached of the range that `bytes` stands for; caches nothing new.
    public func update(image: UInt32, offset: Int, bytes: UnsafeRawBufferPointer) {
        let range = ByteRange(offset: offset, length: bytes.count)
        _ = forEachGroup(of: range) { shard, pages in
            for index in pages {
                guard let page = shard.page(image, index) else { continue }
                Self.copy(bytes, of: range, toPage: page, index: index)
            }
            return true
        }
    }

    /// Forgets every page that `range` touches.
    public func remove(image: UInt32, range: ByteRange) {
        guard range.length / Self.pageSize < pageCount else {
            return removeAll(image: image, from: range.offset / Self.pageSize, to: range.end)
        }
        _ = forEachGroup(of: range) { shard, pages in
            for index in pages {
                guard let key = PageKey(image: image, index: index) else { continue }
                shard.remove(key)
            }
            return true
        }
    }

    /// Forgets every page of `image`.
    public func removeAll(image: UInt32) {
        removeAll(image: image, from: 0, to: Int.max)
    }

    /// Gives the cached pages of `range` another kind.
    public func reclassify(image: UInt32, range: ByteRange, kind: PageKind) {
        guard range.length / Self.pageSize < pageCount else {
            let pages = range.offset / Self.pageSize...(range.end - 1) / Self.pageSize
            for number in 0..<shards.count {
                shards.withShard(number) { $0.reclassifyAll(of: image, in: pages, kind: kind) }
            }
            return
        }
        _ = forEachGroup(of: range) { shard, pages in
            for index in pages {
                guard let key = PageKey(image: image, index: index) else { continue }
                shard.reclassify(key, kind: kind)
            }
            return true
        }
    }

    /// The bytes of `image` that are cached now, in runs of whole pages, sorted. What comes and goes meanwhile may be
    /// among them or not.
    public func cachedRanges(of image: UInt32) -> [ByteRange] {
        guard images.isValid(image) else { return [] }
        var indices: [Int] = []
        for number in 0..<shards.count {
            shards.withShard(number) { $0.appendPages(of: image, to: &indices) }
        }
        indices.sort()
        var ranges: [ByteRange] = []
        for index in indices {
            let page = Self.range(ofPage: index)
            if let last = ranges.last, last.end == page.offset {
                ranges[ranges.count - 1] = ByteRange(offset: last.offset, length: last.length + page.length)
            } else {
                ranges.append(page)
            }
        }
        return ranges
    }

    private func removeAll(image: UInt32, from firstPage: Int, to end: Int) {
        guard images.isValid(image) else { return }
        for number in 0..<shards.count {
            shards.withShard(number) { $0.removeAll(of: image, from: firstPage, to: end) }
        }
    }

    /// What of `range` lies past ``byteLimit``; nil when nothing does.
    private static func uncachedPart(of range: ByteRange) -> ByteRange? {
        range.intersection(ByteRange(offset: byteLimit, length: Int.max - byteLimit))
    }

    /// The range of a page below ``byteLimit``.
    private static func range(ofPage index: Int) -> ByteRange {
        ByteRange(offset: index * pageSize, length: pageSize)
    }

    private static func isInOneGroup(_ range: ByteRange) -> Bool {
        !range.isEmpty && (range.end - 1) / pageSize >> groupShift == range.offset / pageSize >> groupShift
    }

    /// Calls `body` with the pages of `range` below ``byteLimit`` that lie in one group, under its shard's lock, until it
    /// returns false.
    private func forEachGroup(
        of range: ByteRange, _ body: (inout PageCacheShard, Range<Int>) -> Bool
    ) -> Bool {
        guard !range.isEmpty else { return true }
        let last = min((range.end - 1) / Self.pageSize, PageKey.pageLimit - 1)
        var index = range.offset / Self.pageSize
        while index <= last {
            let group = index >> Self.groupShift
            let end = min(last + 1, (group + 1) << Self.groupShift)
            guard shards.withShard(ofGroup: group, { body(&$0, index..<end) }) else { return false }
            index = end
        }
        return true
    }

    private static func copy(
        page: UnsafeRawPointer, index: Int, of range: ByteRange, to destination: UnsafeMutableRawBufferPointer
    ) {
        let start = max(range.offset, index * pageSize)
        let end = min(range.end, (index + 1) * pageSize)
        guard let base = destination.baseAddress else { return }
        memcpy(base + (start - range.offset), page + (start - index * pageSize), end - start)
    }

    private static func copy(
        _ bytes: UnsafeRawBufferPointer, of range: ByteRange, toPage page: UnsafeMutableRawPointer, index: Int
    ) {
        let start = max(range.offset, index * pageSize)
        let end = min(range.end, (index + 1) * pageSize)
        guard let base = bytes.baseAddress else { return }
        memcpy(page + (start - index * pageSize), base + (start - range.offset), end - start)
    }
}
