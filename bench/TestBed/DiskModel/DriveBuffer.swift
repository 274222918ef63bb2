/// The read half of the drive's buffer: stretches that were read, the last of which may still be growing because
/// the drive reads on.
struct ReadBuffer {
    /// The stretch that the head is reading on: it stood at `position` at `time` and goes on to `limit`.
    struct Stream {
        var start: Int
        var position: Int
        var time: Int
        var limit: Int
    }

    private let parameters: DiskParameters
    private var segments: [Range<Int>] = []
    private(set) var stream: Stream?

    init(parameters: DiskParameters) {
        self.parameters = parameters
    }

    /// How far the stream has come at `time`.
    private func reach(of stream: Stream, at time: Int) -> Int {
        let bytes =
            Double(max(0, time - stream.time)) / Double(parameters.revolution)
            * Double(parameters.bytesPerTrack)
        return min(stream.limit, stream.position + Int(min(bytes, 1e15)))
    }

    /// Whether the whole range is in the buffer at `time`.
    func holds(_ range: Range<Int>, at time: Int) -> Bool {
        if let stream, stream.start <= range.lowerBound, range.upperBound <= reach(of: stream, at: time) {
            return true
        }
        return segments.contains { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound }
    }

    /// When the stream, left alone, will have read all of `range`; nil when it does not come by or would stop before.
    func passage(of range: Range<Int>, at time: Int) -> Int? {
        guard let stream, stream.start <= range.lowerBound, range.lowerBound <= stream.limit else { return nil }
        let hasStopped = reach(of: stream, at: time) == stream.limit
        guard !hasStopped || range.upperBound <= stream.limit else { return nil }
        return stream.time + parameters.passage(of: range.upperBound) - parameters.passage(of: stream.position)
    }

    /// Reads on further because the host took `range` from the stretch that the head is at.
    mutating func noteHit(_ range: Range<Int>, at time: Int) {
        // What the head has not come to yet was in the buffer because it was written.
        guard var stream, stream.start <= range.lowerBound, range.upperBound <= reach(of: stream, at: time) else {
            return
        }
        let limit = min(parameters.capacity, range.upperBound + parameters.readAhead)
        guard limit > stream.limit else { return }
        if reach(of: stream, at: time) == stream.limit {
            stream.time = time + parameters.rotationalDelay(to: stream.limit, at: time)
            stream.position = stream.limit
        }
        stream.limit = limit
        stream.start = max(stream.start, range.lowerBound - parameters.readAhead)
        self.stream = stream
    }

    /// Records that the head has just read `range`, ending at `time`, and reads on from there.
    mutating func finishRead(_ range: Range<Int>, at time: Int) {
        let limit = min(parameters.capacity, range.upperBound + parameters.readAhead)
        if let old = stream, old.start <= range.lowerBound, range.lowerBound <= old.limit {
            let start = max(old.start, range.lowerBound - parameters.readAhead)
            stream = Stream(start: start, position: range.upperBound, time: time, limit: max(limit, old.limit))
        } else {
            interrupt(at: time)
            stream = Stream(start: range.lowerBound, position: range.upperBound, time: time, limit: limit)
        }
    }

    /// Ends the stream because the head is wanted elsewhere; what it has read stays in the buffer.
    mutating func interrupt(at time: Int) {
        guard let stream else { return }
        segments.append(stream.start..<max(stream.position, reach(of: stream, at: time)))
        if segments.count > parameters.readSegments {
            segments.removeFirst(segments.count - parameters.readSegments)
        }
        self.stream = nil
    }
}

/// The write half of the drive's buffer: what was acknowledged and is not yet on the platter.
struct WriteBuffer {
    private let capacity: Int
    private let unit: Int
    /// Sorted, apart from each other.
    private var dirty: [Range<Int>] = []
    private var dirtyBytes = 0
    /// The piece that is being brought to the media.
    private var leaving: Range<Int>?

    /// Holds `capacity` bytes, and hands out at most `unit` of them at a time.
    init(capacity: Int, unit: Int) {
        self.capacity = capacity
        self.unit = max(512, unit)
    }

    var isClean: Bool { dirty.isEmpty && leaving == nil }
    var hasDirty: Bool { !dirty.isEmpty }

    /// Whether `count` more bytes find room.
    func hasRoom(for count: Int) -> Bool {
        dirtyBytes + (leaving?.count ?? 0) + count <= capacity
    }

    /// Whether the whole range was written a moment ago.
    func holds(_ range: Range<Int>) -> Bool {
        let isHeld = { (held: Range<Int>) in
            held.lowerBound <= range.lowerBound && range.upperBound <= held.upperBound
        }
        return dirty.contains(where: isHeld) || leaving.map(isHeld) ?? false
    }

    mutating func insert(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        var merged = range
        var (first, end) = (0, dirty.count)
        while first < end {
            let middle = (first + end) / 2
            if dirty[middle].upperBound < merged.lowerBound { first = middle + 1 } else { end = middle }
        }
        var last = first
        while last < dirty.count, dirty[last].lowerBound <= merged.upperBound {
            merged = min(merged.lowerBound, dirty[last].lowerBound)..<max(merged.upperBound, dirty[last].upperBound)
            dirtyBytes -= dirty[last].count
            last += 1
        }
        dirty.replaceSubrange(first..<last, with: [merged])
        dirtyBytes += merged.count
    }

    /// The start of the first dirty stretch.
    var start: Int? { dirty.first?.lowerBound }

    /// The start of the dirty stretch that `cost` calls cheapest.
    func cheapest(by cost: (Int) -> Int) -> Int? {
        dirty.map(\.lowerBound).min { cost($0) < cost($1) }
    }

    /// Takes the piece that starts at `offset` for the way to the media.
    mutating func takePiece(at offset: Int) -> Range<Int>? {
        guard let index = dirty.firstIndex(where: { $0.lowerBound == offset }) else { return nil }
        let whole = dirty[index]
        let piece = whole.lowerBound..<min(whole.upperBound, whole.lowerBound + unit)
        if piece.upperBound == whole.upperBound {
            dirty.remove(at: index)
        } else {
            dirty[index] = piece.upperBound..<whole.upperBound
        }
        dirtyBytes -= piece.count
        leaving = piece
        return piece
    }

    mutating func pieceIsOnMedia() {
        leaving = nil
    }
}
