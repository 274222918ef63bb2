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
    /// The bytes of each image that has some.
    private(set) var byteCounts: [UInt32: Int] = [:]

    init(segmentSize: Int) {
        self.segmentSize = segmentSize
    }

    /// Whether a byte of `range` has a redirect.
    func hasRedirect(image: UInt32, _ range: ByteRange) -> Bool {
        guard byteCounts[image] != nil else { return false }
        // Of each open image that is asked again and again: not by going through all regions, of which there may be a hundred
        // thousand, while all writes wait (invariant 10).
        if range.offset == 0, range.end >= Self.largestOffset { return true }
        for (region, start, end) in parts(of: range, image: image)
        where !indices(of: region, from: start, to: end).isEmpty {
            return true
        }
        return false
    }

    /// The redirects of `range`, cut to it, in order.
    func redirects(image: UInt32, _ range: ByteRange) -> [Redirect] {
        var found: [Redirect] = []
        guard count > 0 else { return found }
        for (region, start, end) in parts(of: range, image: image) {
            guard let extents = regions[region] else { continue }
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

    /// Where the last redirect of an image ends; 0 when there is none. Goes through all regions.
    func end(image: UInt32) -> Int {
        let last = regions.keys.filter { $0.image == image }.max()
        return last.flatMap { redirects(in: $0).last?.range.end } ?? 0
    }

    /// The redirects of one region, in order.
    func redirects(in region: Region) -> [Redirect] {
        redirects(image: region.image, region.range)
    }

    /// The regions that have redirects, in no order.
    var allRegions: [Region] { Array(regions.keys) }

    /// The regions that have redirects, in the order of images and offsets.
    var regionsInOrder: [Region] { regions.keys.sorted() }

    /// Lets `range` be found in the record at `position`, instead of where it was found before.
    mutating func insert(image: UInt32, _ range: ByteRange, position: Int) {
        remove(image: image, range)
        for (region, start, end) in parts(of: range, image: image) {
            let extent = Extent(start: start, length: end - start, position: position)
            let index = regions[region]?.partitioningIndex { $0.start >= end } ?? 0
            regions[region, default: []].insert(extent, at: index)
            note(extent, of: image, 1)
        }
    }

    /// Forgets the redirects of `range` whose record stands before `horizon`.
    mutating func remove(image: UInt32, _ range: ByteRange, before horizon: Int = .max) {
        guard count > 0 else { return }
        for (region, start, end) in parts(of: range, image: image) {
            let touched = indices(of: region, from: start, to: end)
            guard !touched.isEmpty, let extents = regions[region].map({ Array($0[touched]) }) else { continue }
            var kept: [Extent] = []
            for extent in extents {
                guard extent.position < horizon else {
                    kept.append(extent)
                    continue
                }
                note(extent, of: image, -1)
                for part in [extent.part(0, start), extent.part(end, .max)].compactMap(\.self) {
                    note(part, of: image, 1)
                    kept.append(part)
                }
            }
            // Nobody else holds the extents now: they are changed in their place.
            regions[region]?.replaceSubrange(touched, with: kept)
            if regions[region]?.isEmpty == true { regions[region] = nil }
        }
    }

    /// The extents of a region that have bytes from `start` up to and without `end`.
    private func indices(of region: Region, from start: UInt32, to end: UInt32) -> Range<Int> {
        guard let extents = regions[region] else { return 0..<0 }
        let first = extents.partitioningIndex { $0.end > start }
        return first..<max(first, extents.partitioningIndex { $0.start >= end })
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

    private mutating func note(_ extent: Extent, of image: UInt32, _ difference: Int) {
        liveExtents[extent.position / segmentSize % liveExtents.count] += difference
        count += difference
        byteCount += difference * Int(extent.length)
        let bytes = byteCounts[image, default: 0] + difference * Int(extent.length)
        byteCounts[image] = bytes > 0 ? bytes : nil
    }

    /// The regions of `range`, in order, and the part of each that is meant. Holds nothing of the index, which may be
    /// changed on the way.
    ///
    /// Of a range that spans more regions than there are, those that have redirects; offsets past `largestOffset`
    /// have none.
    private func parts(of range: ByteRange, image: UInt32) -> Parts {
        guard let range = range.intersection(ByteRange(offset: 0, length: Self.largestOffset)) else {
            return Parts(image: image, range: range, index: 0, end: 0)
        }
        let first = range.offset >> Self.regionShift
        let last = (range.end - 1) >> Self.regionShift
        var parts = Parts(image: image, range: range, index: first, end: last + 1)
        if last - first >= regions.count + Self.neighbours {
            let used = regions.keys.filter { $0.image == image && (first...last).contains($0.number) }
            parts = Parts(image: image, range: range, index: 0, end: used.count, used: used.map(\.number).sorted())
        }
        return parts
    }

    private struct Parts: Sequence, IteratorProtocol {
        let image: UInt32
        let range: ByteRange
        /// The number of the next region, or where it stands in `used`.
        var index: Int
        let end: Int
        var used: [Int]?

        mutating func next() -> (region: Region, start: UInt32, end: UInt32)? {
            guard index < end else { return nil }
            let region = Region(image: image, number: used?[index] ?? index)
            index += 1
            guard let part = region.range.intersection(range) else { return nil }
            let start = region.range.offset
            return (region, UInt32(part.offset - start), UInt32(part.end - start))
        }
    }
}
