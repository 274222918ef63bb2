import Synchronization

/// What the cache counts of each image, and the floor below which an image's metadata does not make room for others.
///
/// Sendable because all counters are atomic; the memory is the slab's.
final class CacheImages: @unchecked Sendable {
    /// What is counted by label.
    enum Count: Int {
        case hits, misses, ghostHits, evictions, resident
        static let count = 5
    }

    /// The pages that floors keep together, as a share of all: half of what metadata always keeps.
    static let floorShift = CacheBoundary.metadataReserveShift + 1

    private static let labelledCounters = Count.count * PageKind.labelCount
    /// Behind the counters by label: pages of metadata, and whether the number is taken.
    private static let metadataPages = labelledCounters
    private static let isTaken = labelledCounters + 1
    private static let rowLength = labelledCounters + 2
    /// The row of images that are gone.
    private static let past = 0

    /// The number of rows; that of past images is one.
    private let rowCount: Int
    private let counters: UnsafeMutablePointer<Atomic<Int>>
    private let pagesOfFloors: Int
    private let openCount = Atomic(0)
    private let floor: Atomic<Int>

    init(_ memory: UnsafeMutableRawPointer, rowCount: Int, pageCount: Int) {
        self.rowCount = rowCount
        counters = memory.bindMemory(to: Atomic<Int>.self, capacity: rowCount * Self.rowLength)
        for index in 0..<rowCount * Self.rowLength {
            (counters + index).initialize(to: Atomic(0))
        }
        pagesOfFloors = pageCount >> Self.floorShift
        floor = Atomic(pagesOfFloors)
    }

    /// The bytes of `rowCount` rows.
    static func byteCount(rowCount: Int) -> Int { rowCount * rowLength * MemoryLayout<Atomic<Int>>.stride }

    /// A number for an image, from 1 on; nil when all are taken.
    func add() -> UInt32? {
        for row in 1..<rowCount {
            let flag = counters + row * Self.rowLength + Self.isTaken
            guard flag.pointee.compareExchange(expected: 0, desired: 1, ordering: .acquiringAndReleasing).exchanged
            else { continue }
            openCount.add(1, ordering: .relaxed)
            updateFloor()
            return UInt32(row)
        }
        return nil
    }

    /// Gives a valid number back; what was counted under it goes to the past images. No page of it may be cached.
    func remove(_ image: UInt32) {
        let row = Int(image)
        for index in 0..<Self.labelledCounters {
            let counter = counters + row * Self.rowLength + index
            let value = counter.pointee.exchange(0, ordering: .relaxed)
            (counters + index).pointee.add(value, ordering: .relaxed)
        }
        (counters + row * Self.rowLength + Self.isTaken).pointee.store(0, ordering: .releasing)
        openCount.subtract(1, ordering: .relaxed)
        updateFloor()
    }

    private func updateFloor() {
        floor.store(pagesOfFloors / max(1, openCount.load(ordering: .relaxed)), ordering: .relaxed)
    }

    /// Whether pages of this number can be kept.
    func isValid(_ image: UInt32) -> Bool { image > 0 && image < rowCount }

    func add(_ value: Int, to count: Count, image: UInt32, label: UInt8) {
        guard let row = row(image) else { return }
        let index = row * Self.rowLength + count.rawValue * PageKind.labelCount + Int(label)
        (counters + index).pointee.wrappingAdd(value, ordering: .relaxed)
    }

    /// Counts pages that come (1) or go (-1), also those of metadata, which the floor is for.
    func addResident(_ value: Int, image: UInt32, kind: PageKind) {
        add(value, to: .resident, image: image, label: kind.label)
        guard kind.priority.segment == .metadata, let row = row(image) else { return }
        (counters + row * Self.rowLength + Self.metadataPages).pointee.wrappingAdd(value, ordering: .relaxed)
    }

    /// Whether the image has no more metadata in the cache than its floor.
    func isAtFloor(_ image: UInt32) -> Bool {
        guard let row = row(image) else { return false }
        let pages = (counters + row * Self.rowLength + Self.metadataPages).pointee.load(ordering: .relaxed)
        return pages <= floor.load(ordering: .relaxed)
    }

    /// What was counted of one image.
    func statistics(of image: UInt32) -> CacheStatistics {
        row(image).map(statistics) ?? CacheStatistics()
    }

    /// What was counted of all images, the past ones included.
    func statistics() -> CacheStatistics {
        var total = CacheStatistics()
        for row in 0..<rowCount {
            total += statistics(row)
        }
        return total
    }

    private func statistics(_ row: Int) -> CacheStatistics {
        func counts(_ count: Count) -> [Int] {
            let first = row * Self.rowLength + count.rawValue * PageKind.labelCount
            return (first..<first + PageKind.labelCount).map { (counters + $0).pointee.load(ordering: .relaxed) }
        }
        var statistics = CacheStatistics()
        statistics.hits = counts(.hits)
        statistics.misses = counts(.misses)
        statistics.ghostHits = counts(.ghostHits)
        statistics.evictions = counts(.evictions)
        statistics.resident = counts(.resident)
        return statistics
    }

    private func row(_ image: UInt32) -> Int? { image < rowCount ? Int(image) : nil }
}
