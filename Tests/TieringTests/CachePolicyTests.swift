import BlockStorage
import Testing

@testable import Tiering

/// Which pages stay in the cache, and which make room.
struct CachePolicyTests {
    private static let data = PageKind(priority: .data, label: 0)
    private static let bitmap = PageKind(priority: CachePriority(rawValue: 2), label: 1)
    private static let inodeTable = PageKind(priority: CachePriority(rawValue: 3), label: 2)
    private static let directory = PageKind(priority: CachePriority(rawValue: 4), label: 3)
    /// Somewhere else on the disk.
    private static let far = 1 << 30

    private let cache: PageCache
    private let image: UInt32

    init() throws {
        cache = try #require(PageCache(byteCount: 4 << 20))
        image = try #require(cache.addImage())
    }

    private func insert(_ pages: Range<Int>, _ kind: PageKind, _ admission: CacheAdmission = .read, of image: UInt32) {
        [UInt8](repeating: 7, count: PageCache.pageSize).withUnsafeBytes { bytes in
            for page in pages {
                cache.insert(image: image, offset: page << 12, bytes: bytes, kind: kind, admission: admission)
            }
        }
    }

    private func insert(_ pages: Range<Int>, _ kind: PageKind, _ admission: CacheAdmission = .read) {
        insert(pages, kind, admission, of: image)
    }

    private func use(_ pages: Range<Int>) {
        var bytes = [UInt8](repeating: 0, count: PageCache.pageSize)
        for page in pages {
            _ = bytes.withUnsafeMutableBytes {
                cache.read(image: image, range: ByteRange(offset: page << 12, length: $0.count), into: $0)
            }
        }
    }

    private func cached(_ pages: Range<Int>, of image: UInt32? = nil) -> Int {
        pages.count { cache.isCached(image: image ?? self.image, range: ByteRange(offset: $0 << 12, length: 1)) }
    }

    @Test func metadataLeavesDataItsReserve() {
        insert(0..<cache.pageCount * 2, Self.inodeTable)
        insert(Self.far..<Self.far + 10_000, Self.data)
        let resident = cache.statistics().resident
        #expect(resident[0] == cache.pageCount >> CacheBoundary.dataReserveShift)
        #expect(resident[0] + resident[2] == cache.pageCount)
    }

    @Test func streamThatIsReadAheadDoesNotDisplaceDataInUse() {
        let inUse = 0..<cache.pageCount / 2
        insert(inUse, Self.data)
        use(inUse)
        for page in Self.far..<Self.far + cache.pageCount * 4 {
            insert(page..<page + 1, Self.data, .readAhead)
            use(page..<page + 1)
        }
        // One in 64 may go where all that is looked at is in use.
        #expect(cached(inUse) >= inUse.count * 63 / 64)
    }

    @Test func amongMetadataInUseThatWorthMoreStaysLonger() {
        let third = cache.pageCount / 3
        for (number, kind) in [Self.bitmap, Self.inodeTable, Self.directory].enumerated() {
            let pages = number * third..<(number + 1) * third
            insert(pages, kind)
            use(pages)
        }
        for page in Self.far..<Self.far + third {
            insert(page..<page + 1, Self.bitmap)
            use(page..<page + 1)
        }
        let left = (0..<3).map { cached($0 * third..<($0 + 1) * third) }
        #expect(left[0] < third / 2)
        #expect(left[1] > left[0] && left[2] >= left[1])
        #expect(left[2] >= third * 15 / 16)
    }

    @Test func backgroundTakesFreeRoomAndWhatDataHasAboveItsShare() {
        insert(0..<cache.pageCount, Self.data)
        insert(Self.far..<Self.far + cache.pageCount, Self.directory, .background)
        #expect(cached(0..<cache.pageCount) == cache.pageCount >> CacheBoundary.dataReserveShift)
        insert(2 * Self.far..<2 * Self.far + cache.pageCount, Self.data, .background)
        #expect(cached(2 * Self.far..<2 * Self.far + cache.pageCount) == 0)
    }

    @Test func backgroundDisplacesOnlyWhatIsWorthLessAndWasNeverUsed() {
        let half = cache.pageCount / 2
        insert(0..<half, Self.inodeTable)
        use(0..<half)
        insert(half..<cache.pageCount, Self.bitmap, .background)
        insert(Self.far..<Self.far + cache.pageCount, Self.directory, .background)
        #expect(cached(0..<half) == half)
        #expect(cached(half..<cache.pageCount) == 0)
        #expect(cached(Self.far..<Self.far + cache.pageCount) == cache.pageCount - half)
        insert(2 * Self.far..<2 * Self.far + cache.pageCount, Self.directory, .background)
        #expect(cached(2 * Self.far..<2 * Self.far + cache.pageCount) == 0)
    }

    @Test func pageThatComesBackSoonIsCountedAndStays() {
        insert(0..<cache.pageCount + 100, Self.data)
        #expect(cached(0..<100) == 0)
        insert(0..<100, Self.data)
        #expect(cache.statistics(of: image).ghostHits[0] == 100)
        insert(Self.far..<Self.far + cache.pageCount * 2, Self.data)
        #expect(cached(0..<100) == 100)
        #expect(cache.statistics(of: image).evictions[0] == cache.pageCount * 2 + 200)
    }

    @Test func boundaryFollowsGhostHitsFiveToOne() {
        let all = cache.pageCount
        insert(0..<all + all / 2, Self.data)
        let before = cache.metadataByteCount
        insert(0..<100, Self.data)
        let dataHits = cache.statistics().ghostHits[0]
        #expect(dataHits > 90)
        #expect(cache.metadataByteCount == before - dataHits * PageCache.pageSize)
        // A write says nothing of what reads would gain.
        insert(100..<200, Self.data, .write)
        #expect(cache.metadataByteCount == before - dataHits * PageCache.pageSize)
        insert(Self.far..<Self.far + all + 10, Self.bitmap)
        insert(Self.far..<Self.far + 10, Self.bitmap)
        let metadataHits = cache.statistics().ghostHits[1]
        #expect(metadataHits > 5)
        #expect(cache.metadataByteCount == before - (dataHits - 5 * metadataHits) * PageCache.pageSize)
    }

    @Test func boundaryLeavesMetadataAQuarter() {
        let all = cache.pageCount
        insert(Self.far..<Self.far + all, Self.inodeTable)
        for _ in 0..<10 {
            insert(0..<all, Self.data)
            insert(all..<all + all / 2, Self.data)
        }
        #expect(cached(Self.far..<Self.far + all) >= all / 4)
    }

    @Test func neighboursDoNotTakeAnImagesFloor() throws {
        let neighbour = try #require(cache.addImage())
        let floor = cache.pageCount >> (CacheImages.floorShift + 1)
        insert(0..<floor, Self.bitmap)
        for _ in 0..<3 {
            insert(0..<cache.pageCount * 2, Self.directory, of: neighbour)
        }
        #expect(cached(0..<floor) == floor)
        // Above the floor it is a page like others.
        insert(floor..<3 * floor, Self.bitmap)
        insert(Self.far..<Self.far + cache.pageCount * 2, Self.directory, of: neighbour)
        #expect(cached(0..<3 * floor) == floor)
    }

    @Test func imageThatComesToAFullCacheGetsItsFloorFromItsScan() throws {
        insert(0..<cache.pageCount * 2, Self.directory, .background)
        let newcomer = try #require(cache.addImage())
        insert(0..<cache.pageCount, Self.bitmap, .background, of: newcomer)
        let floor = cache.pageCount >> (CacheImages.floorShift + 1)
        let got = cached(0..<cache.pageCount, of: newcomer)
        #expect(got >= floor && got <= floor + cache.pageCount >> CacheBoundary.dataReserveShift + 1)
    }
}
