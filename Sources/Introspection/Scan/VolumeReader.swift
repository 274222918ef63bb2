import BlockStorage
import Volumes

/// Bytes of a range that are of one class.
public struct ClassifiedRange: Hashable, Sendable {
    /// Where.
    public var range: ByteRange
    /// What the bytes are taken for.
    public var blockClass: BlockClass

    /// The bytes of `range`, taken for `blockClass`.
    public init(_ range: ByteRange, _ blockClass: BlockClass) {
        self.range = range
        self.blockClass = blockClass
    }
}

extension Sequence<ClassifiedRange> {
    /// The ranges with those that touch and are of one class made one.
    func joiningNeighbours() -> [ClassifiedRange] {
        reduce(into: []) { joined, next in
            guard let last = joined.last, last.range.end == next.range.offset, last.blockClass == next.blockClass else {
                return joined.append(next)
            }
            let length = last.range.length + next.range.length
            joined[joined.endIndex - 1].range = ByteRange(offset: last.range.offset, length: length)
        }
    }
}

/// Reads a volume through the reader of its disk; ranges are those of the volume.
struct VolumeReader: ClassifiedReader {
    let volume: Volume
    let disk: any ClassifiedReader

    var size: Int { volume.size }

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        try forEachPart(of: range) { (diskRange, start) throws(StorageError) in
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + diskRange.length])
            try disk.read(diskRange, as: blockClass, into: part)
        }
    }

    func read(
        _ range: ByteRange, pieces: [ClassifiedRange], into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        try forEachPart(of: range) { (diskRange, start) throws(StorageError) in
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + diskRange.length])
            let shift = diskRange.offset - (range.offset + start)
            let volumeRange = ByteRange(offset: range.offset + start, length: diskRange.length)
            let own = pieces.compactMap { piece in
                piece.range.intersection(volumeRange).map {
                    ClassifiedRange(ByteRange(offset: $0.offset + shift, length: $0.length), piece.blockClass)
                }
            }
            if !own.isEmpty { try disk.read(diskRange, pieces: own, into: part) }
        }
    }

    /// Calls `body` with each run of `range` on the disk and where in the range it starts.
    private func forEachPart(
        of range: ByteRange, _ body: (ByteRange, Int) throws(StorageError) -> Void
    ) throws(StorageError) {
        guard range.end <= size else {
            throw StorageError(.outOfRange, operation: "read", device: volume.name, range: range)
        }
        var mapped = 0
        try volume.map.forEachDiskRange(of: range) { (diskRange, volumeOffset) throws(StorageError) in
            try body(diskRange, volumeOffset - range.offset)
            mapped += diskRange.length
        }
        guard mapped == range.length else {
            throw StorageError(.outOfRange, operation: "read", device: volume.name, range: range)
        }
    }
}

extension DiskLayout {
    /// How the disk that `reader` reads is divided; `name` is its name in errors.
    static func read(through reader: any ClassifiedReader, name: String) throws(StorageError) -> DiskLayout {
        try read(
            from: LayoutDevice(name: name, reader: reader), members: reader.members, sectorSize: reader.sectorSize)
    }
}

/// A reader as a device that cannot be written, for code that finds out how a disk is divided.
struct LayoutDevice: BlockDevice {
    let name: String
    let reader: any ClassifiedReader

    var size: Int { reader.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try reader.read(ByteRange(offset: offset, length: buffer.count), as: .partitionTable, into: buffer)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        throw StorageError(
            .readOnly, operation: "write", device: name, range: ByteRange(offset: offset, length: bytes.count))
    }

    func flush() throws(StorageError) {}
}
