import BlockStorage

/// Recognises clients that read a file in order, so that the next part is read before they ask.
///
/// A few streams are followed at once, the oldest makes room for a new one. The window doubles with each step from
/// 128 KiB to 1 MiB, as the kernel's own read-ahead does.
struct SequentialReads {
    static let smallestWindow = 128 << 10
    static let largestWindow = 1 << 20
    private static let streamCount = 8

    private struct Stream {
        var next: Int
        var readAheadEnd: Int
        var window: Int
    }

    private var streams: [Stream] = []

    /// Notes a read, and returns what to read ahead now: the next window, when the reader has come within half of one
    /// of the end of the last.
    mutating func note(_ range: ByteRange, fileSize: Int) -> ByteRange? {
        guard let index = streams.firstIndex(where: { $0.next == range.offset }) else {
            if streams.count == Self.streamCount { streams.removeFirst() }
            streams.append(Stream(next: range.end, readAheadEnd: range.end, window: 0))
            return nil
        }
        var stream = streams.remove(at: index)
        defer { streams.append(stream) }
        stream.next = range.end
        let start = max(stream.readAheadEnd, range.end)
        guard start < fileSize, start - range.end <= stream.window / 2 else { return nil }
        stream.window = min(max(stream.window * 2, Self.smallestWindow), Self.largestWindow)
        stream.readAheadEnd = start + min(stream.window, fileSize - start)
        return ByteRange(offset: start, length: stream.readAheadEnd - start)
    }
}
