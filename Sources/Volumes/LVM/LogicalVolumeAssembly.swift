import BlockStorage

/// Puts logical volumes together from the physical volumes that were found.
///
/// Volumes may be made of others; what is not on a disk that was read, or not kept in a way that is mapped, is left out
/// and said in ``problems``.
struct LogicalVolumeAssembly {
    /// Segments that are mapped of all volumes of a disk; a hostile group may name one volume again and again.
    static let largestBudget = 1 << 16
    /// Volumes within volumes: of lvm's own, three.
    private static let deepestNesting = 6

    /// The smallest stripes that are mapped, in bytes: lvm makes none smaller than a page.
    private static let smallestStripe = 4096

    private static let mostProblems = 64

    /// Why volumes are not whole.
    private(set) var problems: [String] = []
    /// Segments that may still be mapped.
    private(set) var budget: Int
    private let group: LVMVolumeGroup
    private let places: [String: LVMPhysicalVolume]

    /// What is mapped of a volume.
    fileprivate struct Pieces {
        var segments: [VolumeMap.Segment] = []
        var copies: [VolumeMap.Segment] = []
        /// The size of the whole volume in bytes.
        var size = 0
    }

    /// For volumes of `group`, whose physical volumes, those that were found, are at `places`, by identifier.
    init(of group: LVMVolumeGroup, places: [String: LVMPhysicalVolume], budget: Int) {
        self.group = group
        self.places = places
        self.budget = budget
    }

    /// The volume; nil when nothing of it is to be had.
    mutating func volume(of logicalVolume: LVMVolumeGroup.LogicalVolume, named name: String) -> Volume? {
        guard !group.snapshotStores.contains(logicalVolume.name) else {
            note("holds the blocks of a snapshot, which are not mapped; left out")
            return nil
        }
        do throws(LVMVolumeGroup.Fault) {
            let pieces = try map(logicalVolume, depth: 0)
            guard !pieces.segments.isEmpty else { return nil }
            guard let map = VolumeMap(segments: pieces.segments, copies: pieces.copies) else {
                throw LVMVolumeGroup.Fault(message: "its segments share extents, expected none that do")
            }
            return Volume(name: name, size: pieces.size, map: map)
        } catch {
            note("\(error.message); left out")
            return nil
        }
    }

    private mutating func note(_ problem: String) {
        if problems.count < Self.mostProblems { problems.append(problem) }
    }

    private mutating func spend() throws(LVMVolumeGroup.Fault) {
        budget -= 1
        guard budget > 0 else {
            throw LVMVolumeGroup.Fault(message: "more than \(Self.largestBudget) segments on this disk")
        }
    }

    private mutating func map(
        _ logicalVolume: LVMVolumeGroup.LogicalVolume, depth: Int
    ) throws(LVMVolumeGroup.Fault) -> Pieces {
        try spend()
        guard depth < Self.deepestNesting else {
            throw LVMVolumeGroup.Fault(message: "made of volumes that are made of volumes, without an end")
        }
        var pieces = Pieces()
        var nextExtent = 0
        for segment in try logicalVolume.segments.get() {
            guard segment.firstExtent == nextExtent else {
                throw LVMVolumeGroup.Fault(
                    message: "a segment starts at extent \(segment.firstExtent), expected \(nextExtent)")
            }
            let (end, overflow) = nextExtent.addingReportingOverflow(segment.extentCount)
            guard !overflow, end <= Int.max / group.extentSize else {
                throw LVMVolumeGroup.Fault(
                    message: "\(segment.extentCount) extents of \(group.extentSize) bytes, more than any disk has")
            }
            nextExtent = end
            try spend()
            do throws(LVMVolumeGroup.Fault) {
                let found = try map(segment, depth: depth)
                pieces.segments += found.segments
                pieces.copies += found.copies
            } catch {
                // Of what is inside another volume, that one tells.
                guard depth == 0 else { throw error }
                note("degraded, from byte \(segment.firstExtent * group.extentSize): \(error.message)")
            }
        }
        pieces.size = nextExtent * group.extentSize
        return pieces
    }

    private mutating func map(
        _ segment: LVMVolumeGroup.Segment, depth: Int
    ) throws(LVMVolumeGroup.Fault) -> Pieces {
        let range = ByteRange(
            offset: segment.firstExtent * group.extentSize, length: segment.extentCount * group.extentSize)
        switch segment.kind {
        case .unsupported(let reason):
            throw LVMVolumeGroup.Fault(message: reason)
        case .striped(let columns, let stripeSize):
            guard columns.count > 1 else { return try map(columns[0], over: range, depth: depth) }
            return Pieces(segments: [try striped(columns, stripeSize, over: range, depth: depth)])
        case .cached(let origin):
            if depth == 0 { note("what a cache of it holds and has not written back is not seen") }
            return try map(origin, over: range, depth: depth)
        case .mirrored(let legs):
            return try mirrored(legs, over: range, depth: depth)
        }
    }

    private mutating func striped(
        _ columns: [LVMVolumeGroup.Segment.Column], _ stripeSize: Int, over range: ByteRange, depth: Int
    ) throws(LVMVolumeGroup.Fault) -> VolumeMap.Segment {
        guard stripeSize >= Self.smallestStripe else {
            throw LVMVolumeGroup.Fault(
                message: "stripes of \(stripeSize) bytes, expected at least \(Self.smallestStripe)")
        }
        let extentCount = range.length / group.extentSize
        guard extentCount.isMultiple(of: columns.count) else {
            throw LVMVolumeGroup.Fault(
                message: "\(extentCount) extents, expected a multiple of \(columns.count) stripes")
        }
        let length = range.length / columns.count
        guard length.isMultiple(of: stripeSize) else {
            throw LVMVolumeGroup.Fault(message: "stripes of \(stripeSize) bytes, expected a divisor of \(length)")
        }
        var offsets: [Int] = []
        for column in columns {
            let pieces = try map(column, over: ByteRange(offset: 0, length: length), depth: depth)
            guard let only = pieces.segments.first, pieces.segments.count == 1, only.columns.count == 1,
                only.length == length
            else {
                throw LVMVolumeGroup.Fault(message: "\(printable(column.volume)) is a stripe and in several pieces")
            }
            offsets.append(only.columns[0])
        }
        return VolumeMap.Segment(
            volumeOffset: range.offset, length: range.length, columns: offsets, stripeSize: stripeSize)
    }

    /// The first leg that is whole, and the others as copies.
    private mutating func mirrored(
        _ legs: [LVMVolumeGroup.Segment.Column], over range: ByteRange, depth: Int
    ) throws(LVMVolumeGroup.Fault) -> Pieces {
        var whole: Pieces?
        var copies: [VolumeMap.Segment] = []
        var fault = LVMVolumeGroup.Fault(message: "no leg is whole")
        // Once the budget is spent no leg can be mapped, and there may be any number of them within each other.
        for leg in legs where budget > 0 {
            do throws(LVMVolumeGroup.Fault) {
                let pieces = try map(leg, over: range, depth: depth)
                if whole == nil, pieces.segments.reduce(0, { $0 + $1.length }) == range.length {
                    whole = pieces
                } else {
                    copies += pieces.segments + pieces.copies
                }
            } catch {
                fault = error
            }
        }
        guard var pieces = whole else { throw fault }
        pieces.copies += copies
        return pieces
    }

    /// The bytes of `column`, as many as `range` has, placed there.
    private mutating func map(
        _ column: LVMVolumeGroup.Segment.Column, over range: ByteRange, depth: Int
    ) throws(LVMVolumeGroup.Fault) -> Pieces {
        if group.physicalVolumes[column.volume] == nil, let other = group.logicalVolume(named: column.volume) {
            return try map(other, depth: depth + 1).part(
                from: column.firstExtent.multipliedReportingOverflow(by: group.extentSize), over: range)
        }
        try spend()
        let offset = try diskOffset(of: column, extentCount: range.length / group.extentSize)
        return Pieces(segments: [
            VolumeMap.Segment(
                volumeOffset: range.offset, length: range.length, columns: [offset], stripeSize: range.length)
        ])
    }

    /// Where on the disk `extentCount` extents from the one that `column` names begin.
    private func diskOffset(
        of column: LVMVolumeGroup.Segment.Column, extentCount: Int
    ) throws(LVMVolumeGroup.Fault) -> Int {
        let name = printable(column.volume)
        guard let physicalVolume = group.physicalVolumes[column.volume] else {
            throw LVMVolumeGroup.Fault(message: "physical volume \(name) is not in the group's list")
        }
        guard let place = places[physicalVolume.identifier] else {
            throw LVMVolumeGroup.Fault(
                message: "physical volume \(name) (\(printable(physicalVolume.identifier))) is not on this disk")
        }
        guard column.firstExtent <= physicalVolume.extentCount,
            extentCount <= physicalVolume.extentCount - column.firstExtent
        else {
            throw LVMVolumeGroup.Fault(
                message: "\(extentCount) extents from \(column.firstExtent) of \(name), expected them among its"
                    + " \(physicalVolume.extentCount)")
        }
        let (start, overflow) = column.firstExtent.multipliedReportingOverflow(by: group.extentSize)
        guard !overflow, physicalVolume.extentsOffset <= place.range.length,
            start <= place.range.length - physicalVolume.extentsOffset,
            extentCount * group.extentSize <= place.range.length - physicalVolume.extentsOffset - start
        else {
            throw LVMVolumeGroup.Fault(
                message: "\(extentCount) extents from \(column.firstExtent) of \(name) lie past the end of"
                    + " \(place.placeName), which has \(place.range.length) bytes")
        }
        return place.range.offset + physicalVolume.extentsOffset + start
    }
}

extension LogicalVolumeAssembly.Pieces {
    /// The bytes from `start`, as many as `range` has, placed there.
    fileprivate func part(
        from start: (partialValue: Int, overflow: Bool), over range: ByteRange
    ) throws(LVMVolumeGroup.Fault) -> Self {
        guard !start.overflow, start.partialValue <= size, range.length <= size - start.partialValue else {
            throw LVMVolumeGroup.Fault(message: "made of \(range.length) bytes of a volume of \(size)")
        }
        let wanted = ByteRange(offset: start.partialValue, length: range.length)
        func moved(_ segments: [VolumeMap.Segment]) throws(LVMVolumeGroup.Fault) -> [VolumeMap.Segment] {
            var parts: [VolumeMap.Segment] = []
            for segment in segments {
                guard let part = segment.volumeRange.intersection(wanted) else { continue }
                let place = range.offset + part.offset - wanted.offset
                if part == segment.volumeRange {
                    parts.append(
                        VolumeMap.Segment(
                            volumeOffset: place, length: segment.length, columns: segment.columns,
                            stripeSize: segment.stripeSize))
                } else if segment.columns.count == 1 {
                    let skipped = part.offset - segment.volumeOffset
                    parts.append(
                        VolumeMap.Segment(
                            volumeOffset: place, length: part.length, columns: [segment.columns[0] + skipped],
                            stripeSize: part.length))
                } else {
                    throw LVMVolumeGroup.Fault(message: "made of a part of a striped volume")
                }
            }
            return parts
        }
        return Self(segments: try moved(segments), copies: try moved(copies), size: range.length)
    }
}
