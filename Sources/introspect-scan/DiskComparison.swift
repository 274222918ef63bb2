import BlockStorage
import Glibc

/// Compares the bytes of two disks, sector by sector; what both have no blocks for is not read.
struct DiskComparison {
    private static let sector = 512
    private static let pieceSize = 1 << 20

    private let disks: [any BlockDevice]
    private let buffers = (0..<2).map { _ in AlignedBuffer(count: pieceSize) }
    /// What of each disk may be other than zeros, next; nil when nothing is.
    private var data: [ByteRange?] = [nil, nil]
    private var found: [ByteRange] = []

    /// A comparison of `before` with `after`.
    init(_ before: any BlockDevice, _ after: any BlockDevice) {
        disks = [before, after]
    }

    /// The runs of sectors in `range` that differ; both disks hold all of it.
    mutating func differences(in range: ByteRange) throws(StorageError) -> [ByteRange] {
        found = []
        data = disks.map { $0.nextData(in: range) }
        var next = range.offset
        while let start = data.compactMap({ $0?.offset }).min() {
            // Whole sectors, also where a hole ends within one.
            next = max(next, start / Self.sector * Self.sector)
            let end = data.compactMap { $0 }.filter { $0.offset - next < Self.sector }.map(\.end).max() ?? range.end
            let whole = end > range.end - Self.sector ? range.end : (end + Self.sector - 1) / Self.sector * Self.sector
            let piece = ByteRange(offset: next, length: min(Self.pieceSize, whole - next))
            try compare(piece)
            next = piece.end
            for (number, disk) in disks.enumerated() {
                guard let known = data[number], known.offset < next else { continue }
                data[number] =
                    known.end > next
                    ? ByteRange(offset: next, length: known.end - next)
                    : disk.nextData(in: ByteRange(offset: next, length: range.end - next))
            }
        }
        return found
    }

    private mutating func compare(_ piece: ByteRange) throws(StorageError) {
        let parts = buffers.map { UnsafeMutableRawBufferPointer(rebasing: $0.bytes[..<piece.length]) }
        for number in disks.indices {
            if data[number].map(piece.overlaps) == true {
                try disks[number].read(into: parts[number], at: piece.offset)
            } else {
                parts[number].initializeMemory(as: UInt8.self, repeating: 0)
            }
        }
        guard !isEqual(parts, 0..<piece.length) else { return }
        for place in stride(from: 0, to: piece.length, by: Self.sector) {
            let length = min(Self.sector, piece.length - place)
            guard !isEqual(parts, place..<place + length) else { continue }
            if let last = found.last, last.end == piece.offset + place {
                found[found.count - 1] = ByteRange(offset: last.offset, length: last.length + length)
            } else {
                found.append(ByteRange(offset: piece.offset + place, length: length))
            }
        }
    }

    private func isEqual(_ parts: [UnsafeMutableRawBufferPointer], _ range: Range<Int>) -> Bool {
        guard let left = parts[0].baseAddress, let right = parts[1].baseAddress else { return true }
        return memcmp(left + range.lowerBound, right + range.lowerBound, range.count) == 0
    }
}
