/// A solid-state disk in its own time: flash behind a controller with a queue and a write buffer.
///
/// The flash is one resource that is busy for a command's share of its operations a second and of its bandwidth; a
/// read's latency overlaps with the next read's, so a full queue gets what the channels can do together. Writes are
/// done when they are in the buffer and go to the flash when no read waits, in pieces that grow where the host writes
/// in order; a read that comes meanwhile waits for the piece. A flush waits until everything written before it is in
/// the flash, unless the buffer is protected, and holds up the writes behind it.
public struct SolidStateDisk: ModelledDisk {
    private static let shortCommand = 4096

    /// What the disk is like.
    public let parameters: SolidStateParameters
    /// What it has done.
    public private(set) var statistics = DiskStatistics()
    /// The moment up to which everything has happened.
    public private(set) var time = 0

    /// Commands that the host holds, in order.
    private var waiting: [DiskCommand] = []
    private var reads: [DiskCommand] = []
    private var flushing: DiskCommand?
    /// What is answered when, in order of time.
    private var answers: [DiskCompletion] = []
    private var completed: [DiskCompletion] = []
    private var interfaceIsFree = 0
    private var flash: (end: Int, isWriting: Bool)?
    private var hasJustWritten = false
    private var buffer: WriteBuffer

    /// A disk at rest, its counters at `statistics`.
    public init(parameters: SolidStateParameters, statistics: DiskStatistics = DiskStatistics()) {
        self.parameters = parameters
        self.statistics = statistics
        buffer = WriteBuffer(capacity: parameters.writeCache, unit: parameters.writeBackUnit)
    }

    /// When something happens next if nothing is submitted; nil when the disk is at rest.
    public var nextEvent: Int? {
        [flash?.end, answers.first?.time].compactMap { $0 }.min()
    }

    /// Hands over a command at the moment `time`, which counts as now when it lies in the past.
    public mutating func submit(_ command: DiskCommand, at time: Int) {
        run(until: time)
        self.time = max(self.time, time)
        statistics.count(command)
        waiting.append(command)
        proceed()
    }

    /// Lets everything up to `time` happen and tells which commands it completed.
    public mutating func advance(to time: Int) -> [DiskCompletion] {
        run(until: time)
        defer { completed.removeAll(keepingCapacity: true) }
        return completed
    }

    private mutating func run(until end: Int) {
        while let next = nextEvent, next <= end {
            time = next
            if let flash, flash.end == next {
                if flash.isWriting { buffer.pieceIsOnMedia() }
                self.flash = nil
            } else {
                completed.append(answers.removeFirst())
            }
            proceed()
        }
    }

    private mutating func proceed() {
        admit()
        if let flush = flushing, buffer.isClean || parameters.isPowerLossProtected {
            flushing = nil
            answer(flush, at: time + parameters.flushLatency)
            admit()
        }
        if flash == nil { startFlash() }
    }

    /// Takes commands from the host in order, but reads past writes that have to wait.
    private mutating func admit() {
        var areWritesHeld = flushing != nil
        var left: [DiskCommand] = []
        for command in waiting {
            let isFull = reads.count + answers.count >= max(1, parameters.queueDepth)
            switch command.kind {
            case .read where !isFull:
                if buffer.holds(command.range) {
                    statistics.bufferHits += 1
                    answer(command, at: overInterface(command, latency: parameters.readLatency))
                } else {
                    reads.append(command)
                }
            case .write where !isFull && !areWritesHeld && hasRoom(for: command.length):
                buffer.insert(command.range)
                answer(command, at: overInterface(command, latency: parameters.writeLatency))
            case .flush where !areWritesHeld:
                flushing = command
                areWritesHeld = true
            default:
                areWritesHeld = areWritesHeld || command.kind != .read
                left.append(command)
            }
        }
        waiting = left
    }

    /// A write that the buffer could never hold, and every write without one, goes through an empty buffer.
    private func hasRoom(for count: Int) -> Bool {
        buffer.hasRoom(for: count) || (buffer.isClean && count > parameters.writeCache)
    }

    private mutating func overInterface(_ command: DiskCommand, latency: Int) -> Int {
        interfaceIsFree =
            max(time, interfaceIsFree) + nanoseconds(for: command.length, at: parameters.interfaceRate)
        return max(interfaceIsFree, time + latency)
    }

    private mutating func answer(_ command: DiskCommand, at moment: Int) {
        let index = answers.firstIndex { $0.time > moment } ?? answers.count
        answers.insert(DiskCompletion(identifier: command.identifier, time: moment), at: index)
    }

    // MARK: - The flash

    private mutating func startFlash() {
        let isPressed = flushing != nil || waiting.contains { $0.kind == .write }
        let goesOnReading = !reads.isEmpty && (!isPressed || hasJustWritten || !buffer.hasDirty)
        if goesOnReading {
            let command = reads.removeFirst()
            let transfer = nanoseconds(for: command.length, at: parameters.readBandwidth)
            occupyFlash(for: max(1_000_000_000 / max(1, parameters.readsPerSecond), transfer), isWriting: false)
            let rest = nanoseconds(for: command.length - Self.shortCommand, at: parameters.readBandwidth)
            answer(command, at: time + parameters.readLatency + rest)
        } else if let offset = buffer.start, let piece = buffer.takePiece(at: offset) {
            let transfer = nanoseconds(for: piece.count, at: parameters.writeBandwidth)
            occupyFlash(for: max(1_000_000_000 / max(1, parameters.writesPerSecond), transfer), isWriting: true)
        }
    }

    private mutating func occupyFlash(for duration: Int, isWriting: Bool) {
        flash = (time + duration, isWriting)
        hasJustWritten = isWriting
        statistics.mediaOperations += 1
        statistics.busy.transfer += duration
    }

    private func nanoseconds(for count: Int, at rate: Int) -> Int {
        Int(Double(max(0, count)) / Double(max(1, rate)) * 1e9)
    }
}
