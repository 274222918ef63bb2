import BlockStorage

/// Which bytes of which image have their newest contents in the log, and in which record: 16 bytes an extent.
///
/// Extents are kept sorted in regions of 4 MiB of an image, so that an insertion moves little; none crosses the border
/// of a region.
struct RedirectIndex {
    /// A part of an image, and the position of the record that has its bytes.
    struct Redirect: Hashable {
        let range: ByteRange
        let position: Int
    }

    /// A region that has redirects.
    struct Region: Hashable, Comparable {
        /// The number that the log gave the image.
        let image: UInt32
        /// The region's place in the image.
        let number: Int

        static func < (left: Region, right: Region) -> Bool {
            (left.image, left.number) < (right.image, right.number)
        }

        var range: ByteRange {
            ByteRange(offset: number << RedirectIndex.regionShift, length: RedirectIndex.regionSize)
        }
    }

    private struct Extent {
        let start: UInt32
        let length: UInt32
        let position: Int

        var end: UInt32 { start + length }

        /// What of the extent lies from `low` up to and without `high`; nil when nothing does.
        func part(_ low: UInt32, _ high: UInt32) -> Extent? {
            let (low, high) = (max(low, start), min(high, end))
            return low < high ? Extent(start: low, length: high - low, position: position) : nil
        }
    }

    /// No image has bytes from here on.
    static let largestOffset = 1 << 60
    /// The regions that a range to be inserted may span.
    private static let neighbours = 8
    private static let regionShift = 22
    private static let regionSize = 1 << regionShift

    private let segmentSize: Int
    private var regions: [Region: [Extent]] = [:]
    /// The number of extents whose record stands in each segment of the ring.
    private var liveExtents = [Int](repeating: 0, count: LogGeometry.segmentCount)
    /// The number of extents.
    private(set) var count = 0
    /// The bytes of all extents.
    private(set) var byteCount = 0

    init(segmentSize: Int) {
        self.segmentSize = segmentSize
    }

    /// Whether a byte of `range` has a redirect.
    func hasRedirect(image: UInt32, _ range: ByteRange) -> Bool {
        !redirects(image: image, range).isEmpty
    }

    /// The redirects of `range`, cut to it, in order.
    func redirects(image: UInt32, _ range: ByteRange) -> [Redirect] {
        var found: [Redirect] = []
        guard count > 0 else { return found }
        forEachRegion(image: image, range) { region, start, end in
            guard let extents = regions[region] else { return }
            var index = extents.partitioningIndex { $0.end > start }
            while index < extents.count, extents[index].start < end {
                let low = max(extents[index].start, start)
                let length = min(extents[index].end, end) - low
                let part = ByteRange(offset: region.range.offset + Int(low), length: Int(length))
                found.append(Redirect(range: part, position: extents[index].position))
                index += 1
            }
        }
        return found
    }

    /// The redirects of one region, in order.
    func redirects(in region: Region) -> [Redirect] {
        redirects(image: region.image, region.range)
    }

    /// The regions that have redirects, in the order of images and offsets.
    var regionsInOrder: [Region] { regions.keys.sorted() }

    /// Lets `range` be found in the record at `position`, instead of where it was found before.
    mutating func insert(image: UInt32, _ range: ByteRange, position: Int) {
        remove(image: image, range)
        forEachRegion(image: image, range) { region, start, end in
            let extent = Extent(start: start, length: end - start, position: position)
            let extents = regions[region] ?? []
            let index = extents.partitioningIndex { $0.start >= end }
            regions[region, default: []].insert(extent, at: index)
            note(extent, 1)
        }
    }

    /// Forgets the redirects of `range` whose record stands before `horizon`.
    mutating func remove(image: UInt32, _ range: ByteRange, before horizon: Int = .max) {
        guard count > 0 else { return }
        forEachRegion(image: image, range) { region, start, end in
            guard let extents = regions[region] else { return }
            let first = extents.partitioningIndex { $0.end > start }
            let last = extents.partitioningIndex { $0.start >= end }
            guard first < last else { return }
            var kept: [Extent] = []
            for extent in extents[first..<last] {
                guard extent.position < horizon else {
                    kept.append(extent)
                    continue
                }
                note(extent, -1)
                for part in [extent.part(0, start), extent.part(end, .max)].compactMap(\.self) {
                    note(part, 1)
                    kept.append(part)
                }
            }
            regions[region]?.replaceSubrange(first..<last, with: kept)
            if regions[region]?.isEmpty == true { regions[region] = nil }
        }
    }

    /// The number of the first segment, from `first` up to and without `end`, that has the record of an extent; `end`
    /// when none has. At most a ring's worth of segments is looked at.
    func firstLiveSegment(from first: Int, to end: Int) -> Int {
        var segment = first
        while segment < end, liveExtents[segment % liveExtents.count] == 0 {
            segment += 1
        }
        return segment
    }

    private mutating func note(_ extent: Extent, _ difference: Int) {
        liveExtents[extent.position / segmentSize % liveExtents.count] += difference
        count += difference
        byteCount += difference * Int(extent.length)
    }

    /// Calls `body` with the regions of `range`, in order, and the part of each that is meant.
    ///
    /// Of a range that spans more regions than there are, those that have redirects; offsets past `largestOffset`
    /// have none.
    private func forEachRegion(image: UInt32, _ range: ByteRange, _ body: (Region, UInt32, UInt32) -> Void) {
        guard let range = range.intersection(ByteRange(offset: 0, length: Self.largestOffset)) else { return }
        let first = range.offset >> Self.regionShift
        let last = (range.end - 1) >> Self.regionShift
        func call(_ region: Region) {
            guard let part = region.range.intersection(range) else { return }
            let start = region.range.offset
            body(region, UInt32(part.offset - start), UInt32(part.end - start))
        }
        guard last - first < regions.count + Self.neighbours else {
            let regions = regions.keys.filter { $0.image == image && (first...last).contains($0.number) }
            for region in regions.sorted() { call(region) }
            return
        }
        for number in first...last {
            call(Region(image: image, number: number))
        }
    }
}
