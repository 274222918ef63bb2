import BlockStorage
import TestTools
import Testing

@testable import Tiering

/// Eight virtual machines on a cache of a tenth of what they use: seven stream data, the eighth works on metadata.
struct CachePriorityTests {
    private static let images = 8
    private static let budget = 16 << 20
    private static let steps = 3000
    /// Until then nothing is counted.
    private static let warmUp = 1000
    /// Pages of data an image, the first of which are asked for often.
    private static let dataPages = 5000
    private static let hotPages = 300
    private static let streamedAtOnce = 8
    private static let hotReadsAtOnce = 2
    /// Pages of metadata of the eighth image, and of each of the others.
    private static let metadataPages = 400
    private static let otherMetadataPages = 40
    private static let metadataStart = 1 << 20

    private struct Access {
        let image: Int
        let page: Int
        let isMetadata: Bool
        let isStream: Bool
    }

    /// Calls `body` with every access, and whether it counts.
    private static func forEachAccess(_ body: (Access, _ counts: Bool) -> Void) {
        var random = SplitMix64(seed: 5)
        var positions = (0..<images - 1).map { $0 * 600 }
        for step in 0..<steps {
            for image in positions.indices {
                for _ in 0..<streamedAtOnce {
                    let page = hotPages + positions[image] % (dataPages - hotPages)
                    body(Access(image: image, page: page, isMetadata: false, isStream: true), step >= warmUp)
                    positions[image] += 1
                }
                for _ in 0..<hotReadsAtOnce {
                    // The smaller of two is twice as likely among the first.
                    let two = (0..<2).map { _ in Int.random(in: 0..<hotPages, using: &random) }
                    let page = min(two[0], two[1])
                    body(Access(image: image, page: page, isMetadata: false, isStream: false), step >= warmUp)
                }
                guard step % 16 == image else { continue }
                let page = metadataStart + Int.random(in: 0..<otherMetadataPages, using: &random)
                body(Access(image: image, page: page, isMetadata: true, isStream: false), step >= warmUp)
            }
            for _ in 0..<2 {
                let page = metadataStart + Int.random(in: 0..<metadataPages, using: &random)
                body(Access(image: images - 1, page: page, isMetadata: true, isStream: false), step >= warmUp)
            }
        }
    }

    private struct Ratios {
        var metadata = (hits: 0, all: 0)
        var data = (hits: 0, all: 0)

        mutating func count(_ access: Access, isHit: Bool) {
            if access.isMetadata {
                guard access.image == images - 1 else { return }
                metadata.all += 1
                if isHit { metadata.hits += 1 }
            } else {
                data.all += 1
                if isHit { data.hits += 1 }
            }
        }

        var metadataRatio: Double { Double(metadata.hits) / Double(metadata.all) }
        var dataRatio: Double { Double(data.hits) / Double(data.all) }

        var description: String {
            let (metadata, data) = ((metadataRatio * 1000).rounded() / 10, (dataRatio * 1000).rounded() / 10)
            return "metadata of the eighth \(metadata) %, data \(data) %"
        }
    }

    private func ratios(of policy: inout some CachePolicy) -> Ratios {
        var ratios = Ratios()
        Self.forEachAccess { access, counts in
            let isHit = policy.access(access.image << 32 | access.page)
            if counts { ratios.count(access, isHit: isHit) }
        }
        return ratios
    }

    /// The cache itself, with streams read ahead as the datastore does.
    private func ratios(of cache: PageCache, images: [UInt32]) -> Ratios {
        var ratios = Ratios()
        let data = PageKind(priority: .data, label: 0)
        let metadata = PageKind(priority: CachePriority(rawValue: 4), label: 1)
        var buffer = [UInt8](repeating: 0, count: PageCache.pageSize)
        buffer.withUnsafeMutableBytes { buffer in
            Self.forEachAccess { access, counts in
                let (image, offset) = (images[access.image], access.page << 12)
                let range = ByteRange(offset: offset, length: PageCache.pageSize)
                var isHit = cache.isCached(image: image, range: range)
                if !isHit {
                    cache.insert(
                        image: image, offset: offset, bytes: UnsafeRawBufferPointer(buffer),
                        kind: access.isMetadata ? metadata : data, admission: access.isStream ? .readAhead : .read)
                }
                if isHit || access.isStream {
                    isHit = cache.read(image: image, range: range, into: buffer) && isHit
                }
                if counts { ratios.count(access, isHit: isHit) }
            }
        }
        return ratios
    }

    @Test func streamsLeaveTheEighthItsMetadata() throws {
        let cache = try #require(PageCache(byteCount: Self.budget))
        let used = (Self.images - 1) * (Self.dataPages + Self.otherMetadataPages) + Self.metadataPages
        #expect(cache.pageCount * 17 / 2 < used, "the cache is about a tenth of what is used")
        let ours = ratios(of: cache, images: (0..<Self.images).compactMap { _ in cache.addImage() })
        var plainLRU = LeastRecentlyUsed(capacity: cache.pageCount)
        var plainS3 = PlainS3FIFO(capacity: cache.pageCount)
        let (lru, s3) = (ratios(of: &plainLRU), ratios(of: &plainS3))
        print("a cache of \(cache.pageCount) pages for \(used): \(ours.description)")
        print("plain LRU: \(lru.description); plain S3-FIFO: \(s3.description)")
        #expect(ours.metadataRatio >= 0.99)
        #expect(lru.metadataRatio < 0.9, "or the trace asks nothing of the cache")
        let share = Double(cache.statistics().resident[1]) / Double(cache.pageCount)
        #expect(ours.dataRatio >= s3.dataRatio - share)
    }
}

private protocol CachePolicy {
    /// Asks for a page, which is cached afterwards; returns whether it was before.
    mutating func access(_ key: Int) -> Bool
}

/// The textbook's policy, over pages of any kind.
private struct LeastRecentlyUsed: CachePolicy {
    let capacity: Int
    private var times: [Int: Int] = [:]
    private var order: [(key: Int, time: Int)] = []
    private var oldest = 0

    init(capacity: Int) { self.capacity = capacity }

    mutating func access(_ key: Int) -> Bool {
        let isHit = times[key] != nil
        if !isHit, times.count == capacity {
            // What was used since stands further back, too.
            while times[order[oldest].key] != order[oldest].time { oldest += 1 }
            times[order[oldest].key] = nil
        }
        times[key] = order.count
        order.append((key, order.count))
        return isHit
    }
}

/// S3-FIFO as its paper has it, over pages of any kind: a small queue of a tenth, two bits of frequency, a ghost queue
/// as long as the main queue.
private struct PlainS3FIFO: CachePolicy {
    private let smallCapacity: Int
    private let mainCapacity: Int
    private var small = Queue()
    private var main = Queue()
    private var ghosts = Queue()
    private var uses: [Int: Int] = [:]
    private var ghostKeys: Set<Int> = []

    private struct Queue {
        private var keys: [Int] = []
        private var head = 0
        var count: Int { keys.count - head }

        mutating func append(_ key: Int) { keys.append(key) }

        mutating func take() -> Int {
            head += 1
            return keys[head - 1]
        }
    }

    init(capacity: Int) {
        smallCapacity = capacity / 10
        mainCapacity = capacity - capacity / 10
    }

    mutating func access(_ key: Int) -> Bool {
        if let count = uses[key] {
            uses[key] = min(count + 1, 3)
            return true
        }
        while small.count + main.count >= smallCapacity + mainCapacity { evict() }
        if ghostKeys.remove(key) != nil {
            main.append(key)
        } else {
            small.append(key)
        }
        uses[key] = 0
        return false
    }

    private mutating func evict() {
        if small.count >= smallCapacity, small.count > 0 {
            let key = small.take()
            if uses[key, default: 0] > 1 {
                main.append(key)
                uses[key] = 0
                return
            }
            uses[key] = nil
            ghosts.append(key)
            ghostKeys.insert(key)
            while ghosts.count > mainCapacity { ghostKeys.remove(ghosts.take()) }
        } else {
            let key = main.take()
            if let count = uses[key], count > 0 {
                uses[key] = count - 1
                main.append(key)
            } else {
                uses[key] = nil
            }
        }
    }
}
