/// A command to the modelled disk.
public struct DiskCommand: Hashable, Sendable {
    /// What is to be done.
    public enum Kind: String, Hashable, Sendable, Codable {
        /// Read a range.
        case read
        /// Write a range.
        case write
        /// Bring everything written before to the platter.
        case flush
    }

    /// The number by which its completion is told; the host's to choose.
    public let identifier: Int
    /// What is to be done.
    public let kind: Kind
    /// The first byte.
    public let offset: Int
    /// The number of bytes; 0 for a flush.
    public let length: Int

    /// A command over `length` bytes from `offset`.
    public init(identifier: Int, kind: Kind, offset: Int = 0, length: Int = 0) {
        self.identifier = identifier
        self.kind = kind
        self.offset = offset
        self.length = length
    }

    var range: Range<Int> { offset..<offset + length }
}

/// A request that reached the disk, in a trace.
public struct DiskRequest: Hashable, Sendable {
    /// When it came, in nanoseconds since the disk was started.
    public let time: Int
    /// What was to be done.
    public let kind: DiskCommand.Kind
    /// The first byte.
    public let offset: Int
    /// The number of bytes; 0 for a flush.
    public let length: Int

    init(time: Int, kind: DiskCommand.Kind, offset: Int, length: Int) {
        self.time = time
        self.kind = kind
        self.offset = offset
        self.length = length
    }

    /// A request as ``line`` tells it; nil for another line.
    init?(line: Substring) {
        let words = line.split(separator: " ")
        guard words.count == 4, let time = Int(words[0]), let kind = DiskCommand.Kind(rawValue: String(words[1])),
            let offset = Int(words[2]), let length = Int(words[3])
        else { return nil }
        self.init(time: time, kind: kind, offset: offset, length: length)
    }

    /// The request as a line of the file `trace`: TIME KIND OFFSET LENGTH.
    var line: String { "\(time) \(kind.rawValue) \(offset) \(length)\n" }
}

/// The end of a command.
public struct DiskCompletion: Hashable, Sendable {
    /// The command's number.
    public let identifier: Int
    /// When the command was done, in nanoseconds of the disk's time.
    public let time: Int
}

/// What the disk has done since its counters were last reset.
public struct DiskStatistics: Hashable, Sendable, Codable {
    /// Commands of each kind and the bytes that they moved.
    public struct Traffic: Hashable, Sendable, Codable {
        /// Read commands.
        public var reads = 0
        /// Write commands.
        public var writes = 0
        /// Flush commands.
        public var flushes = 0
        /// Bytes read.
        public var bytesRead = 0
        /// Bytes written.
        public var bytesWritten = 0
    }

    /// How long the head was busy, in nanoseconds, by what it did.
    public struct BusyTime: Hashable, Sendable, Codable {
        /// Commands' fixed costs.
        public var overhead = 0
        /// Moving the arm.
        public var seek = 0
        /// Waiting for the sector.
        public var rotation = 0
        /// Bytes passing under the head.
        public var transfer = 0
        /// All of it.
        public var total: Int { overhead + seek + rotation + transfer }
    }

    /// What the host asked for.
    public var traffic = Traffic()
    /// Reads answered from the buffer without moving the head.
    public var bufferHits = 0
    /// Times that the arm moved.
    public var seeks = 0
    /// Times that the head went to work: media reads and pieces of written data brought to the platter.
    public var mediaOperations = 0
    /// How long the head was busy.
    public var busy = BusyTime()

    /// Nothing done yet.
    public init() {}

    mutating func count(_ command: DiskCommand) {
        switch command.kind {
        case .read:
            traffic.reads += 1
            traffic.bytesRead += command.length
        case .write:
            traffic.writes += 1
            traffic.bytesWritten += command.length
        case .flush:
            traffic.flushes += 1
        }
    }

    /// What happened since `earlier`, a copy of the same disk's counters.
    public func since(_ earlier: DiskStatistics) -> DiskStatistics {
        var result = self
        result.traffic.reads -= earlier.traffic.reads
        result.traffic.writes -= earlier.traffic.writes
        result.traffic.flushes -= earlier.traffic.flushes
        result.traffic.bytesRead -= earlier.traffic.bytesRead
        result.traffic.bytesWritten -= earlier.traffic.bytesWritten
        result.bufferHits -= earlier.bufferHits
        result.seeks -= earlier.seeks
        result.mediaOperations -= earlier.mediaOperations
        result.busy.overhead -= earlier.busy.overhead
        result.busy.seek -= earlier.busy.seek
        result.busy.rotation -= earlier.busy.rotation
        result.busy.transfer -= earlier.busy.transfer
        return result
    }
}
