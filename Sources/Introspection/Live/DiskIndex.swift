import BlockStorage
import Volumes

/// Finds what a range of the disk belongs to: a structure that divides the disk, a volume, or neither.
final class DiskIndex: Sendable {
    /// What a range of the disk belongs to.
    enum Content: Hashable, Sendable {
        case structure(DiskStructure.Kind)
        /// The index of the volume; and how much further on the disk than on the volume all of it is, nil when it is
        /// striped.
        case volume(Int, shift: Int?)
        case nothing
    }

    private struct Entry: Sendable {
        var range: ByteRange
        var content: Content
    }

    let volumes: [Volume]
    let partitions: [Partition]
    /// Sorted, without overlap. Where a volume reaches over a structure, the structure has the bytes.
    private let entries: [Entry]

    init(_ layout: DiskLayout) {
        volumes = layout.volumes
        partitions = layout.partitions
        var entries = layout.structures.map { Entry(range: $0.range, content: .structure($0.kind)) }
        for (number, volume) in layout.volumes.enumerated() {
            for range in volume.map.diskRanges {
                Self.forEachGap(in: range, between: layout.structures) {
                    let shift = Self.shift(of: $0, in: volume)
                    entries.append(Entry(range: $0, content: .volume(number, shift: shift)))
                }
            }
        }
        entries.sort { $0.range.offset < $1.range.offset }
        self.entries = entries
        memoryBytes =
            entries.capacity * MemoryLayout<Entry>.stride + volumes.reduce(0) { $0 + $1.map.memoryBytes }
    }

    /// The memory that it takes, in bytes; what a few MiB of LVM2 metadata say is most of it then.
    let memoryBytes: Int

    /// Calls `body` with consecutive parts that cover `range`.
    func forEachPart<Failure: Error>(
        of range: ByteRange, _ body: (ByteRange, Content) throws(Failure) -> Void
    ) throws(Failure) {
        var offset = range.offset
        var index = entries.partitioningIndex { $0.range.end > offset }
        while offset < range.end {
            guard index < entries.count, entries[index].range.offset < range.end else {
                return try body(ByteRange(offset: offset, length: range.end - offset), .nothing)
            }
            let entry = entries[index]
            if offset < entry.range.offset {
                try body(ByteRange(offset: offset, length: entry.range.offset - offset), .nothing)
                offset = entry.range.offset
            }
            let end = min(entry.range.end, range.end)
            try body(ByteRange(offset: offset, length: end - offset), entry.content)
            offset = end
            index += 1
        }
    }

    /// Calls `body` with the parts of the disk that belong to something, in order.
    func forEachEntry(_ body: (ByteRange, Content) -> Void) {
        for entry in entries { body(entry.range, entry.content) }
    }

    /// Calls `body` for ranges of the volume that hold all of `part`, and may hold more: what is between them in a stripe.
    func forEachCover<Failure: Error>(
        of part: ByteRange, volume: Int, shift: Int?, _ body: (_ volumeRange: ByteRange) throws(Failure) -> Void
    ) throws(Failure) {
        if let shift { return try body(ByteRange(offset: part.offset - shift, length: part.length)) }
        try volumes[volume].map.forEachCover(ofDisk: part, body)
    }

    /// Calls `body` for each run of `part`, which belongs to a volume, with the same run on the volume.
    func forEachVolumeRange<Failure: Error>(
        of part: ByteRange, volume: Int, shift: Int?,
        _ body: (_ volumeRange: ByteRange, _ diskOffset: Int) throws(Failure) -> Void
    ) throws(Failure) {
        if let shift {
            return try body(ByteRange(offset: part.offset - shift, length: part.length), part.offset)
        }
        try volumes[volume].map.forEachVolumeRange(ofDisk: part, body)
    }

    private static func shift(of range: ByteRange, in volume: Volume) -> Int? {
        struct IsFirst: Error {}
        var shift: Int?
        // The first run tells: a striped volume has very many.
        try? volume.map.forEachVolumeRange(ofDisk: range) { (volumeRange, diskOffset) throws(IsFirst) in
            if volumeRange.length == range.length { shift = diskOffset - volumeRange.offset }
            throw IsFirst()
        }
        return shift
    }

    /// Calls `body` with the parts of `range` that none of `structures` has.
    ///
    /// It looks at those in the range, and at few others: tenants can make both structures and ranges many.
    static func forEachGap<Structures: RandomAccessCollection<DiskStructure>>(
        in range: ByteRange, between structures: Structures, _ body: (ByteRange) -> Void
    ) where Structures.Index == Int {
        var offset = range.offset
        // They are sorted and share no byte.
        let first = structures.partitioningIndex { $0.range.end > range.offset }
        for structure in structures[first...].prefix(while: { $0.range.offset < range.end }) {
            if offset < structure.range.offset {
                body(ByteRange(offset: offset, length: structure.range.offset - offset))
            }
            offset = max(offset, structure.range.end)
        }
        if offset < range.end {
            body(ByteRange(offset: offset, length: range.end - offset))
        }
    }
}
