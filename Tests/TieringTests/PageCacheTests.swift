import BlockStorage
import Glibc
import Testing

@testable import Tiering

struct PageCacheTests {
    private let data = PageKind(priority: .data, label: 0)
    private let metadata = PageKind(priority: CachePriority(rawValue: 3), label: 1)

    private func page(_ value: UInt8, count: Int = 1) -> [UInt8] {
        [UInt8](repeating: value, count: count * PageCache.pageSize)
    }

    private func insert(_ cache: PageCache, image: UInt32 = 1, page index: Int, _ value: UInt8, _ kind: PageKind) {
        page(value).withUnsafeBytes {
            cache.insert(image: image, offset: index * PageCache.pageSize, bytes: $0, kind: kind)
        }
    }

    private func read(_ cache: PageCache, image: UInt32 = 1, _ range: ByteRange) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: range.length)
        return bytes.withUnsafeMutableBytes { cache.read(image: image, range: range, into: $0) } ? bytes : nil
    }

    private func isCached(_ cache: PageCache, page index: Int) -> Bool {
        cache.isCached(image: 1, range: ByteRange(offset: index * PageCache.pageSize, length: 1))
    }

    @Test func rangeIsReadOnlyWhenEveryPageIsThere() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        insert(cache, page: 10, 1, data)
        insert(cache, page: 11, 2, data)
        let bytes = try #require(read(cache, ByteRange(offset: 10 * 4096 + 100, length: 4096)))
        #expect(bytes == [UInt8](repeating: 1, count: 3996) + [UInt8](repeating: 2, count: 100))
        #expect(read(cache, ByteRange(offset: 11 * 4096, length: 4097)) == nil)
        #expect(read(cache, image: 2, ByteRange(offset: 10 * 4096, length: 1)) == nil)
    }

    /// Offsets whose upper bits would be another image's number have no name in the cache.
    @Test func noOffsetNamesAPageOfAnotherImage() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        for image: UInt32 in 1...3 { insert(cache, image: image, page: 7, UInt8(image), metadata) }
        for image: UInt32 in 0...3 {
            for other in 0...3 {
                let offset = other << 56 + 7 * 4096
                guard offset >= PageCache.byteLimit else { continue }
                let range = ByteRange(offset: offset, length: 4096)
                page(9).withUnsafeBytes {
                    cache.update(image: image, offset: offset, bytes: $0)
                    cache.insert(image: image, offset: offset, bytes: $0, kind: metadata)
                }
                cache.reclassify(image: image, range: range, kind: data)
                #expect(read(cache, image: image, range) == nil && !cache.isCached(image: image, range: range))
                #expect(cache.missing(image: image, range: range) == [range])
                cache.remove(image: image, range: range)
            }
        }
        for image: UInt32 in 1...3 {
            #expect(read(cache, image: image, ByteRange(offset: 7 * 4096, length: 4096)) == page(UInt8(image)))
        }
    }

    @Test func rangesThatReachPastWhatTheCacheCanNameAreMissingThere() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        let last = PageCache.byteLimit / 4096 - 1
        insert(cache, page: last, 1, data)
        #expect(isCached(cache, page: last))
        for end in [PageCache.byteLimit + 5000, Int.max] {
            let range = ByteRange(offset: last * 4096, length: end - last * 4096)
            guard range.length <= 1 << 20 else {
                cache.remove(image: 1, range: range)
                #expect(!isCached(cache, page: last))
                continue
            }
            #expect(read(cache, range) == nil && !cache.isCached(image: 1, range: range))
            let rest = ByteRange(offset: PageCache.byteLimit, length: end - PageCache.byteLimit)
            #expect(cache.missing(image: 1, range: range) == [rest])
            var bytes = [UInt8](repeating: 0, count: range.length)
            #expect(bytes.withUnsafeMutableBytes { cache.readPresent(image: 1, range: range, into: $0) } == [rest])
        }
        let end = ByteRange(offset: Int.max - 10, length: 10)
        #expect(read(cache, end) == nil && cache.missing(image: 1, range: end) == [end])
        page(9).withUnsafeBytes {
            cache.update(image: 1, offset: Int.max - 10, bytes: UnsafeRawBufferPointer(rebasing: $0[..<10]))
        }
    }

    @Test func partOfAPageIsUpdatedInPlaceAndNeverCachedAlone() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        insert(cache, page: 0, 1, data)
        [UInt8](repeating: 9, count: 5000).withUnsafeBytes {
            cache.insert(image: 1, offset: 1000, bytes: $0, kind: data)
        }
        #expect(read(cache, ByteRange(offset: 999, length: 2)) == [1, 9])
        #expect(!isCached(cache, page: 1))
    }

    @Test func streamOfDataNeverEvictsMetadata() throws {
        let cache = try #require(PageCache(byteCount: 4 << 20))
        let metadataPages = cache.pageCount * 3 / 4
        for index in 0..<metadataPages { insert(cache, page: index, 1, metadata) }
        for index in 100_000..<110_000 { insert(cache, page: index, 2, data) }
        #expect((0..<metadataPages).allSatisfy { isCached(cache, page: $0) })
    }

    @Test func usedPageOutlivesUnusedOnesOfItsLevel() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        for index in 0..<cache.pageCount { insert(cache, page: index, 1, data) }
        _ = read(cache, ByteRange(offset: 0, length: 1))
        for index in 0..<cache.pageCount / 2 { insert(cache, page: 50_000 + index, 1, data) }
        #expect(isCached(cache, page: 0))
        #expect(!isCached(cache, page: 1))
    }

    @Test func removedPagesAreGoneAndTheirNeighboursStay() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        for index in 0..<20 { insert(cache, page: index, UInt8(index), data) }
        cache.remove(image: 1, range: ByteRange(offset: 5 * 4096 + 4095, length: 2))
        #expect((0..<20).filter { !isCached(cache, page: $0) } == [5, 6])
        cache.remove(image: 1, range: ByteRange(offset: 10 * 4096, length: Int.max - 10 * 4096))
        #expect((0..<20).filter { isCached(cache, page: $0) } == [0, 1, 2, 3, 4, 7, 8, 9])
    }

    @Test func missingPartsAreMergedAndClipped() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        insert(cache, page: 2, 7, data)
        var bytes = [UInt8](repeating: 0, count: 5 * 4096)
        let missing = bytes.withUnsafeMutableBytes {
            cache.readPresent(image: 1, range: ByteRange(offset: 100, length: 5 * 4096), into: $0)
        }
        #expect(
            missing == [
                ByteRange(offset: 100, length: 2 * 4096 - 100),
                ByteRange(offset: 3 * 4096, length: 2 * 4096 + 100),
            ])
        #expect(bytes[2 * 4096 - 100] == 7 && bytes[3 * 4096 - 101] == 7 && bytes[3 * 4096 - 100] == 0)
    }

    /// The cache against a dictionary, under a seeded mix of all calls: what it holds is always the latest.
    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func neverAnswersWithAnOlderPage(seed: UInt64) throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        var latest: [Int: UInt8] = [:]
        var state = seed
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        for step in 0..<20_000 {
            let index = random(600)
            let kind = PageKind(priority: CachePriority(rawValue: UInt8(random(5))), label: 2)
            switch random(5) {
            case 0, 1:
                let value = UInt8(truncatingIfNeeded: step)
                latest[index] = value
                insert(cache, page: index, value, kind)
            case 2:
                cache.remove(image: 1, range: ByteRange(offset: index * 4096, length: 4096))
                latest[index] = nil
            case 3:
                cache.reclassify(image: 1, range: ByteRange(offset: index * 4096, length: 1), kind: kind)
            default:
                guard let bytes = read(cache, ByteRange(offset: index * 4096, length: 4096)) else { continue }
                #expect(bytes == page(try #require(latest[index])))
            }
        }
    }

    @Test func memoryStaysWithinTheBudget() throws {
        for budget in [1 << 20, 7_000_000, 64 << 20, 3 << 30] {
            let cache = try #require(PageCache(byteCount: budget))
            #expect(cache.byteCount <= budget)
            #expect(cache.byteCount > budget * 95 / 100)
            #expect(cache.pageCount * PageCache.pageSize > budget * 95 / 100)
        }
    }

    /// The kernel's own account of the memory that the cache has touched once it was filled twice over.
    @Test func residentMemoryIsWhatTheCacheSays() throws {
        let budget = 8 << 20
        let cache = try #require(PageCache(byteCount: budget))
        for index in 0..<cache.pageCount * 2 {
            insert(cache, page: index, 1, index.isMultiple(of: 3) ? metadata : data)
            _ = read(cache, ByteRange(offset: index / 2 * 4096, length: 1))
        }
        var pages = [UInt8](repeating: 0, count: (cache.byteCount + 4095) / 4096)
        #expect(mincore(cache.slab.base, cache.byteCount, &pages) == 0)
        let resident = pages.count { $0 & 1 != 0 } * 4096
        #expect(abs(resident - budget) <= budget / 20)
    }

    @Test func numbersOfImagesAreTakenOnceAndGivenBack() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        var images: [UInt32] = []
        while let image = cache.addImage() { images.append(image) }
        #expect(images.count == 16 && Set(images).count == 16)
        insert(cache, image: images[3], page: 0, 1, metadata)
        _ = read(cache, image: images[3], ByteRange(offset: 0, length: 1))
        cache.countMisses(2, image: images[3], label: 1)
        #expect(cache.statistics(of: images[3]).resident[1] == 1)
        cache.removeImage(images[3])
        #expect(cache.addImage() == images[3])
        let fresh = cache.statistics(of: images[3])
        #expect(fresh.hits[1] == 0 && fresh.misses[1] == 0 && fresh.resident[1] == 0)
        #expect(read(cache, image: images[3], ByteRange(offset: 0, length: 1)) == nil)
        let total = cache.statistics()
        #expect(total.hits[1] == 1 && total.misses[1] == 2 && total.resident[1] == 0)
    }

    @Test func pagesOfNoImageAreNotKept() throws {
        let cache = try #require(PageCache(byteCount: 1 << 20))
        for image: UInt32 in [0, 17, 1 << 20, .max] {
            insert(cache, image: image, page: 0, 1, data)
            #expect(read(cache, image: image, ByteRange(offset: 0, length: 1)) == nil)
        }
    }
}
