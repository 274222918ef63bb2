/// A mechanical disk in its own time: one arm, one head at work, a platter that turns, and a buffer.
///
/// What it models:
///
/// - The drive holds ``DiskParameters/queueDepth`` commands and serves next the one that the head reaches first.
///   A flush is a barrier, as it is on Serial ATA.
/// - After a read the head reads on into the buffer until a command wants it elsewhere.
/// - Writes are done when they are in the buffer; they go to the platter when the head has nothing to read, when
///   the buffer is full, or for a flush.
public struct MechanicalDisk: ModelledDisk {
    private struct Entry {
        let command: DiskCommand
        /// When the drive took it.
        let arrival: Int
    }

    private enum HeadWork {
        case read(DiskCommand, passedAt: Int)
        case write(DiskCommand)
        case writeBack
    }

    /// What the disk is like.
    public let parameters: DiskParameters
    /// What it has done.
    public private(set) var statistics = DiskStatistics()
    /// The moment up to which everything has happened.
    public private(set) var time = 0

    /// Commands that the host holds: the drive is full, or a flush is in the way.
    private var waiting: [DiskCommand] = []
    private var accepted: [Entry] = []
    private var flushing: DiskCommand?
    private var head: (work: HeadWork, end: Int)?
    private var onInterface: [DiskCompletion] = []
    private var interfaceIsFree = 0
    /// The byte that the head passed last.
    private var position = 0
    private var readBuffer: ReadBuffer
    private var writeBuffer: WriteBuffer
    private var completed: [DiskCompletion] = []

    /// A disk at rest, its head at byte 0, its counters at `statistics`.
    public init(parameters: DiskParameters, statistics: DiskStatistics = DiskStatistics()) {
        self.parameters = parameters
        self.statistics = statistics
        readBuffer = ReadBuffer(parameters: parameters)
        writeBuffer = WriteBuffer(capacity: parameters.writeCache, unit: parameters.writeBackUnit)
    }

    /// When something happens next if nothing is submitted; nil when the disk is at rest.
    public var nextEvent: Int? {
        switch (head?.end, onInterface.first?.time) {
        case (let head?, let interface?): min(head, interface)
        case (let head, let interface): head ?? interface
        }
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
            if let head, head.end == next {
                self.head = nil
                finish(head.work)
            } else {
                completed.append(onInterface.removeFirst())
            }
            proceed()
        }
    }

    private mutating func finish(_ work: HeadWork) {
        switch work {
        case .read(let command, let passedAt):
            position = command.range.upperBound
            readBuffer.finishRead(command.range, at: passedAt)
            completed.append(DiskCompletion(identifier: command.identifier, time: time))
        case .write(let command):
            position = command.range.upperBound
            completed.append(DiskCompletion(identifier: command.identifier, time: time))
        case .writeBack:
            writeBuffer.pieceIsOnMedia()
        }
    }

    /// Does everything that can be done at this moment.
    private mutating func proceed() {
        repeat {
            admit()
        } while answerFromBuffer()
        if let flush = flushing, writeBuffer.isClean {
            flushing = nil
            answerOverInterface(flush)
        }
        if head == nil {
            startHead()
        }
    }

    // MARK: - The queue

    private var isHoldingCommands: Bool {
        if case .writeBack? = head?.work { return !accepted.isEmpty || !onInterface.isEmpty }
        return !accepted.isEmpty || !onInterface.isEmpty || head != nil
    }

    private mutating func admit() {
        while let first = waiting.first, flushing == nil {
            if first.kind == .flush {
                guard !isHoldingCommands else { return }
                flushing = first
            } else {
                guard accepted.count + onInterface.count < max(1, parameters.queueDepth) else { return }
                accepted.append(Entry(command: first, arrival: time))
            }
            waiting.removeFirst()
        }
    }

    /// Answers what needs no head; whether anything was answered.
    private mutating func answerFromBuffer() -> Bool {
        let count = accepted.count
        var left: [Entry] = []
        for entry in accepted {
            let command = entry.command
            let isInBuffer = writeBuffer.holds(command.range) || readBuffer.holds(command.range, at: time)
            if command.kind == .read, isInBuffer {
                readBuffer.noteHit(command.range, at: time)
                statistics.bufferHits += 1
                answerOverInterface(command)
            } else if command.kind == .write, writeBuffer.hasRoom(for: command.length) {
                writeBuffer.insert(command.range)
                answerOverInterface(command)
            } else {
                left.append(entry)
            }
        }
        accepted = left
        return left.count < count
    }

    private mutating func answerOverInterface(_ command: DiskCommand) {
        let end =
            max(time, interfaceIsFree) + parameters.commandOverhead + parameters.interfaceTime(of: command.length)
        interfaceIsFree = end
        onInterface.append(DiskCompletion(identifier: command.identifier, time: end))
    }

    // MARK: - The head

    /// How long the head takes to stand over the byte at `offset`, setting out after `delay`.
    private func positioningTime(to offset: Int, after delay: Int = 0) -> Int {
        let seek = parameters.seekTime(from: position, to: offset)
        return delay + seek + parameters.rotationalDelay(to: offset, at: time + delay + seek)
    }

    private func positioningTime(for command: DiskCommand) -> Int {
        if command.kind == .read, let passage = readBuffer.passage(of: command.range, at: time) {
            return passage - time - parameters.passage(of: command.length)
        }
        return positioningTime(to: command.offset, after: parameters.commandOverhead)
    }

    private mutating func startHead() {
        let isForHead = { [parameters] (entry: Entry) in
            entry.command.kind == .read || entry.command.length > parameters.writeCache
        }
        if let oldest = accepted.first(where: isForHead), time - oldest.arrival > parameters.patience {
            return start(oldest.command)
        }
        let command = accepted.lazy.filter(isForHead).map(\.command).min {
            positioningTime(for: $0) < positioningTime(for: $1)
        }
        // Reads go first as long as no write is waiting for room in the buffer.
        let mayWriteBack = command == nil || !accepted.allSatisfy(isForHead)
        let piece = mayWriteBack ? writeBuffer.cheapest { positioningTime(to: $0) } : nil
        switch (command, piece) {
        case (let command?, let piece?):
            if positioningTime(for: command) <= positioningTime(to: piece) {
                start(command)
            } else {
                startWriteBack(at: piece)
            }
        case (let command?, nil):
            start(command)
        case (nil, let piece?):
            startWriteBack(at: piece)
        case (nil, nil):
            break
        }
    }

    private mutating func start(_ command: DiskCommand) {
        accepted.removeAll { $0.command.identifier == command.identifier }
        if command.kind == .read, let passage = readBuffer.passage(of: command.range, at: time) {
            statistics.mediaOperations += 1
            let end = max(passage, time + parameters.commandOverhead)
            statistics.busy.transfer += end - time
            head = (.read(command, passedAt: passage), end)
            return
        }
        let end = moveHead(over: command.range, overhead: parameters.commandOverhead)
        head = (command.kind == .read ? .read(command, passedAt: end) : .write(command), end)
    }

    private mutating func startWriteBack(at offset: Int) {
        guard let piece = writeBuffer.takePiece(at: offset) else { return }
        let end = moveHead(over: piece, overhead: 0)
        position = piece.upperBound
        head = (.writeBack, end)
    }

    /// Leaves off reading on, seeks, waits for the sector, transfers; the time when that is done.
    private mutating func moveHead(over range: Range<Int>, overhead: Int) -> Int {
        readBuffer.interrupt(at: time)
        let seek = parameters.seekTime(from: position, to: range.lowerBound)
        let rotation = parameters.rotationalDelay(to: range.lowerBound, at: time + overhead + seek)
        let transfer = parameters.passage(of: range.upperBound) - parameters.passage(of: range.lowerBound)
        statistics.mediaOperations += 1
        statistics.seeks += seek > 0 ? 1 : 0
        statistics.busy.overhead += overhead
        statistics.busy.seek += seek
        statistics.busy.rotation += rotation
        statistics.busy.transfer += transfer
        return time + overhead + seek + rotation + transfer
    }
}
