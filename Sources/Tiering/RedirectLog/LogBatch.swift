import BlockStorage
import Glibc

/// The records of one group commit, in the memory that is written.
///
/// Positions are given when the batch is closed: what stands before it in the log is known only then.
final class LogBatch: @unchecked Sendable {
    /// A record that takes effect when the batch is durable.
    struct Entry {
        var record: LogRecord
        let place: Int
        let settled: [ByteRange]
    }

    private let buffer: AlignedBuffer
    private(set) var count = 0
    private(set) var start = 0
    /// The position at which the last record ends.
    private(set) var end = 0
    private(set) var entries: [Entry] = []

    init(capacity: Int) {
        buffer = AlignedBuffer(count: capacity)
    }

    var isEmpty: Bool { entries.isEmpty }

    /// The bytes to write, once the batch is closed.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer.bytes[..<count]) }

    func hasRoom(for size: Int) -> Bool { count + size <= buffer.count }

    /// Appends a record whose payload has the checksum that the record says; there must be room.
    func append(_ record: LogRecord, payload: UnsafeRawBufferPointer, settled: [ByteRange] = []) {
        let place = count + LogRecord.headerSize
        UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[place..<place + payload.count]).copyMemory(from: payload)
        entries.append(Entry(record: record, place: count, settled: settled))
        count += record.size
    }

    /// Fills in what was open in the headers, and pads the batch to whole blocks.
    func close(at start: Int, after precedingEnd: Int, epoch: UInt64, geometry: LogGeometry) {
        self.start = start
        for index in entries.indices {
            let place = entries[index].place
            entries[index].record.epoch = epoch
            entries[index].record.position = start + place
            entries[index].record.precedingEnd = precedingEnd
            if entries[index].record.horizon == LogRecord.ownPosition { entries[index].record.horizon = start + place }
            let header = buffer.bytes[place..<place + LogRecord.headerSize]
            entries[index].record.write(to: UnsafeMutableRawBufferPointer(rebasing: header))
        }
        end = start + count
        count = geometry.roundedUp(count)
    }

    /// Empties the batch for its next use; bytes that are not written again must be zeros.
    func reset() {
        if let base = buffer.bytes.baseAddress { memset(base, 0, count) }
        entries.removeAll(keepingCapacity: true)
        count = 0
    }
}
