import BlockStorage

/// What is destaged with one flush of an image and one settlement.
///
/// The records are read in the order in which they stand in the log, those near each other at once, and written in the
/// order of the image. Meanwhile clients may write over the same blocks, to log and image both: so each run is written
/// while its range is held, and of it only what the log has nothing newer of by then.
final class DestageStep {
    /// A redirect, and where its bytes are gathered.
    private struct Item {
        let redirect: RedirectIndex.Redirect
        let start: Int
        /// Whether the bytes are there; a dead redirect's are not.
        var isRead = false

        var end: Int { start + redirect.range.length }
        /// Where the record ends at the earliest.
        var recordEnd: Int { redirect.position + LogRecord.headerSize + redirect.range.length }
    }

    /// Bytes between two records that cost less to read than another request does.
    private static let largestGap = 64 << 10

    /// The end of the log when the first redirect was looked up: what is written later is not in the image, and must
    /// outlive the settlement.
    var horizon = Int.max
    /// The bytes added.
    private(set) var byteCount = 0
    private var items: [Item] = []

    private let image: ImageIdentity
    private let target: any DestageTarget
    private let log: RedirectLog
    private let pause: () -> Void
    /// Whether the log takes note of what is in the image; one that has failed cannot.
    private let settles: Bool

    /// A step without redirects.
    ///
    /// - Parameter pause: is called before the image is written to, and may wait.
    init(
        image: ImageIdentity, target: any DestageTarget, log: RedirectLog, settles: Bool,
        pause: @escaping () -> Void = {}
    ) {
        self.image = image
        self.settles = settles
        self.target = target
        self.log = log
        self.pause = pause
    }

    /// The number of redirects added.
    var count: Int { items.count }

    /// Adds a redirect; those of an image come in order.
    func add(_ redirect: RedirectIndex.Redirect) {
        items.append(Item(redirect: redirect, start: byteCount))
        byteCount += redirect.range.length
    }

    /// Copies what was added to the image, makes it durable there, then that durable in the log; the step is empty then.
    ///
    /// - Parameter onFailure: is called with each redirect that cannot be read, and throws when that ends the step.
    func finish(
        _ onFailure: (RedirectIndex.Redirect, StorageError) throws(StorageError) -> Void
    ) throws(StorageError) {
        defer {
            items.removeAll(keepingCapacity: true)
            byteCount = 0
            horizon = .max
        }
        guard !items.isEmpty else { return }
        let buffer = AlignedBuffer(count: byteCount)
        try readRecords(into: buffer.bytes, onFailure)
        pause()
        let ranges = try writeRuns(of: UnsafeRawBufferPointer(buffer.bytes))
        guard !ranges.isEmpty else { return }
        try target.flush()
        if settles { try log.settle(ranges, of: image, before: horizon) }
    }

    private func readRecords(
        into buffer: UnsafeMutableRawBufferPointer,
        _ onFailure: (RedirectIndex.Redirect, StorageError) throws(StorageError) -> Void
    ) throws(StorageError) {
        let order = items.indices.sorted { items[$0].redirect.position < items[$1].redirect.position }
        guard let first = order.first, let last = order.last else { return }
        let window = RecordWindow(log.ring, span: items[last].recordEnd - items[first].redirect.position)
        var next = 0
        while next < order.count {
            let stretch = stretch(of: order[next...], atMost: window.largestStretch)
            window.read(from: items[order[next]].redirect.position, to: stretch.end)
            for index in order[next..<next + stretch.count] {
                let redirect = items[index].redirect
                let target = UnsafeMutableRawBufferPointer(rebasing: buffer[items[index].start..<items[index].end])
                items[index].isRead = window.copy(redirect, of: image, to: target)
                guard !items[index].isRead else { continue }
                do throws(StorageError) {
                    items[index].isRead = try log.read(redirect, of: image, into: target)
                } catch {
                    try onFailure(redirect, error)
                }
            }
            next += stretch.count
        }
    }

    /// How many of the next records are read at once, and where the last of them ends.
    private func stretch(of order: ArraySlice<Int>, atMost largest: Int) -> (count: Int, end: Int) {
        var (count, end) = (0, 0)
        var start = 0
        for index in order {
            let item = items[index]
            if count == 0 { start = item.redirect.position }
            guard count == 0 || (item.redirect.position - end <= Self.largestGap && item.recordEnd - start <= largest)
            else { break }
            end = max(end, item.recordEnd)
            count += 1
        }
        return (count, min(end, start + largest))
    }

    /// Writes what was read, neighbours at once; returns what is in the image then, or newer there or in the log.
    private func writeRuns(of buffer: UnsafeRawBufferPointer) throws(StorageError) -> [ByteRange] {
        var ranges: [ByteRange] = []
        var next = 0
        while next < items.count {
            let first = next
            next += 1
            guard items[first].isRead else { continue }
            var range = items[first].redirect.range
            while next < items.count, items[next].isRead, items[next].redirect.range.offset == range.end,
                range.length < log.geometry.batchSize
            {
                range = ByteRange(offset: range.offset, length: range.length + items[next].redirect.range.length)
                next += 1
            }
            let start = items[first].start
            let bytes = UnsafeRawBufferPointer(rebasing: buffer[start..<start + range.length])
            try target.exclusively(range) { () throws(StorageError) in
                for part in newest(of: first..<next, in: range) {
                    let place = part.offset - range.offset
                    let source = UnsafeRawBufferPointer(rebasing: bytes[place..<place + part.length])
                    try target.write(source, at: part.offset)
                }
            }
            ranges.appendMerging(range)
        }
        return ranges
    }

    /// What of a run of items the log has in the very records that were read.
    private func newest(of run: Range<Int>, in range: ByteRange) -> [ByteRange] {
        var parts: [ByteRange] = []
        var index = run.lowerBound
        for redirect in log.redirects(of: image, in: range) {
            while index < run.upperBound, items[index].redirect.range.end <= redirect.range.offset { index += 1 }
            guard index < run.upperBound, items[index].redirect.position == redirect.position,
                let part = items[index].redirect.range.intersection(redirect.range)
            else { continue }
            parts.appendMerging(part)
        }
        return parts
    }
}
