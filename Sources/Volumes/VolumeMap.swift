import BlockStorage

/// Where the bytes of a volume are on its disk: linear and striped segments, and copies of them that a mirror has.
///
/// Striping is arithmetic: a segment takes the same memory whatever its size. No byte of the disk is in a map twice; a
/// byte of the volume is in one place that is read, and in as many more as there are copies.
public struct VolumeMap: Sendable, Hashable {
    /// A run of the volume over one or more equally long columns of the disk.
    struct Segment: Sendable, Hashable {
        /// The first byte in the volume.
        let volumeOffset: Int
        /// The number of bytes in the volume.
        let length: Int
        /// Where each column begins on the disk, in bytes.
        let columns: [Int]
        /// How many bytes go to one column before the next one's turn; with one column, the whole length.
        let stripeSize: Int

        var volumeRange: ByteRange { ByteRange(offset: volumeOffset, length: length) }
        var columnLength: Int { length / columns.count }
    }

    /// One column of a segment, for the way from the disk to the volume.
    private struct Column: Sendable, Hashable {
        let disk: ByteRange
        let segment: Int
        let index: Int
    }

    /// Sorted by offset in the volume, without overlap; gaps are bytes that are not on this disk.
    let segments: [Segment]
    /// Where the same bytes are once more, in no order: on the way from the disk to the volume only.
    private let copies: [Segment]
    /// Sorted by offset on the disk, without overlap.
    private let columns: [Column]
    /// How many bytes of the volume are on the disk.
    let mappedBytes: Int

    /// The map of a volume that is one range of the disk.
    public init(linear range: ByteRange) {
        guard !range.isEmpty else {
            (segments, copies, columns, mappedBytes) = ([], [], [], 0)
            return
        }
        segments = [
            Segment(volumeOffset: 0, length: range.length, columns: [range.offset], stripeSize: range.length)
        ]
        copies = []
        columns = [Column(disk: range, segment: 0, index: 0)]
        mappedBytes = range.length
    }

    /// The map of `segments` with `copies` of them, or nil unless the segments are sorted and disjoint in the volume, all
    /// are disjoint on the disk, and every column is a whole number of stripes.
    init?(segments: [Segment], copies: [Segment] = []) {
        var columns: [Column] = []
        var end = 0
        var mapped = 0
        for (number, segment) in (segments + copies).enumerated() {
            guard segment.volumeOffset >= 0, segment.length > 0, segment.volumeOffset <= Int.max - segment.length,
                !segment.columns.isEmpty, segment.stripeSize > 0, segment.length % segment.columns.count == 0,
                segment.columnLength % segment.stripeSize == 0
            else { return nil }
            if number < segments.count {
                guard segment.volumeOffset >= end else { return nil }
                end = segment.volumeRange.end
                mapped += segment.length
            }
            for (index, offset) in segment.columns.enumerated() {
                guard offset >= 0, offset <= Int.max - segment.columnLength else { return nil }
                let disk = ByteRange(offset: offset, length: segment.columnLength)
                columns.append(Column(disk: disk, segment: number, index: index))
            }
        }
        guard copies.allSatisfy({ $0.volumeRange.end <= end }) else { return nil }
        columns.sort { $0.disk.offset < $1.disk.offset }
        for (first, second) in zip(columns, columns.dropFirst()) {
            guard first.disk.end <= second.disk.offset else { return nil }
        }
        self.segments = segments
        self.copies = copies
        self.columns = columns
        mappedBytes = mapped
    }

    /// The memory that it takes, in bytes: each segment has its columns in an allocation of its own.
    public var memoryBytes: Int {
        let header = 32
        let places = (segments + copies).reduce(0) { $0 + header + $1.columns.capacity * MemoryLayout<Int>.stride }
        return places + (segments.capacity + copies.capacity) * MemoryLayout<Segment>.stride
            + columns.capacity * MemoryLayout<Column>.stride
    }

    /// The end of the last segment, in bytes of the volume.
    var end: Int { segments.last?.volumeRange.end ?? 0 }

    /// The ranges of the disk that belong to the volume, sorted.
    public var diskRanges: [ByteRange] { columns.map(\.disk) }

    /// Ranges of the disk, in no order, outside of which is nothing of the volume's first `length` bytes; few, however many
    /// stripes there are.
    public func diskRanges(ofFirst length: Int) -> [ByteRange] {
        (segments + copies).filter { $0.volumeOffset < length }.flatMap { segment in
            let bytes = min(segment.length, length - segment.volumeOffset)
            let stripes = (bytes - 1) / segment.stripeSize + 1
            let rows = (stripes - 1) / segment.columns.count + 1
            // A single column is one stripe, of which less may be wanted.
            let column = segment.columns.count == 1 ? bytes : rows * segment.stripeSize
            return segment.columns.map { ByteRange(offset: $0, length: column) }
        }
    }

    /// Calls `body` for each run of `range` that is on the disk, in the order of the volume.
    public func forEachDiskRange<Failure: Error>(
        of range: ByteRange, _ body: (_ diskRange: ByteRange, _ volumeOffset: Int) throws(Failure) -> Void
    ) throws(Failure) {
        var number = segments.partitioningIndex { $0.volumeRange.end > range.offset }
        while number < segments.count, let piece = segments[number].volumeRange.intersection(range) {
            let segment = segments[number]
            var offset = piece.offset
            while offset < piece.end {
                let (stripe, inStripe) = (offset - segment.volumeOffset)
                    .quotientAndRemainder(dividingBy: segment.stripeSize)
                let (row, column) = stripe.quotientAndRemainder(dividingBy: segment.columns.count)
                let length = min(segment.stripeSize - inStripe, piece.end - offset)
                let diskOffset = segment.columns[column] + row * segment.stripeSize + inStripe
                try body(ByteRange(offset: diskOffset, length: length), offset)
                offset += length
            }
            number += 1
        }
    }

    /// Calls `body` for each run of `range` on the disk that belongs to the volume, in the order of the disk.
    public func forEachVolumeRange<Failure: Error>(
        ofDisk range: ByteRange, _ body: (_ volumeRange: ByteRange, _ diskOffset: Int) throws(Failure) -> Void
    ) throws(Failure) {
        var next = columns.partitioningIndex { $0.disk.end > range.offset }
        while next < columns.count, let piece = columns[next].disk.intersection(range) {
            let column = columns[next]
            next += 1
            let segment = segment(number: column.segment)
            var offset = piece.offset
            while offset < piece.end {
                let (row, inStripe) = (offset - column.disk.offset)
                    .quotientAndRemainder(dividingBy: segment.stripeSize)
                let length = min(segment.stripeSize - inStripe, piece.end - offset)
                let stripe = row * segment.columns.count + column.index
                let volumeOffset = segment.volumeOffset + stripe * segment.stripeSize + inStripe
                try body(ByteRange(offset: volumeOffset, length: length), offset)
                offset += length
            }
        }
    }

    /// Calls `body` with ranges of the volume that hold all bytes of `range` on the disk, in the order of the disk: one for
    /// each column, however many stripes there are, with what other columns have between the first of them and the last.
    public func forEachCover<Failure: Error>(
        ofDisk range: ByteRange, _ body: (_ volumeRange: ByteRange) throws(Failure) -> Void
    ) throws(Failure) {
        var next = columns.partitioningIndex { $0.disk.end > range.offset }
        while next < columns.count, let piece = columns[next].disk.intersection(range) {
            let column = columns[next]
            next += 1
            let segment = segment(number: column.segment)
            let row = segment.stripeSize * segment.columns.count
            let first = (piece.offset - column.disk.offset) / segment.stripeSize
            let last = (piece.end - 1 - column.disk.offset) / segment.stripeSize
            if segment.columns.count == 1 {
                let skipped = piece.offset - column.disk.offset
                try body(ByteRange(offset: segment.volumeOffset + skipped, length: piece.length))
            } else {
                try body(ByteRange(offset: segment.volumeOffset + first * row, length: (last - first + 1) * row))
            }
        }
    }

    /// The parts of the volume that are striped, each as often as the disk has it.
    public var stripedRanges: [ByteRange] {
        (segments + copies).filter { $0.columns.count > 1 }.map(\.volumeRange)
    }

    private func segment(number: Int) -> Segment {
        number < segments.count ? segments[number] : copies[number - segments.count]
    }

    /// The volume's byte that is at `offset` of the disk, or nil when that byte is not part of the volume.
    public func volumeOffset(ofDiskOffset offset: Int) -> Int? {
        guard offset >= 0, offset < Int.max else { return nil }
        var result: Int?
        forEachVolumeRange(ofDisk: ByteRange(offset: offset, length: 1)) { range, _ in result = range.offset }
        return result
    }
}
