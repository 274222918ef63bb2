import BlockStorage

/// Recognises clients that write a file in order: a disk takes such a stream as fast as the log's device does, and it
/// would only push out what saves seeks.
///
/// Writes of a stream come from many threads, a little out of order.
struct SequentialWrites {
    /// From so many bytes on, writes that follow one another are a stream.
    static let streamLength = 1 << 20
    /// How far from the stream's end a write may be that is part of it.
    private static let tolerance = 1 << 20
    private static let streamCount = 8

    private struct Stream {
        var end: Int
        var length: Int
    }

    private var streams: [Stream] = []

    /// Notes a write, and returns whether it is part of a stream. The oldest stream makes room for a new one.
    mutating func note(_ range: ByteRange) -> Bool {
        let distances = streams.map { abs(range.offset - $0.end) }
        guard let nearest = distances.min(), nearest <= Self.tolerance,
            let index = distances.firstIndex(of: nearest)
        else {
            if streams.count == Self.streamCount { streams.removeFirst() }
            streams.append(Stream(end: range.end, length: range.length))
            return false
        }
        var stream = streams.remove(at: index)
        defer { streams.append(stream) }
        stream.end = max(stream.end, range.end)
        stream.length += range.length
        return stream.length > Self.streamLength
    }
}
