/// A disk in its own time. It does no I/O and never sleeps: whoever drives it submits commands at moments, asks for
/// ``nextEvent`` and advances it; in a test from event to event, in ``DiskServer`` by the clock.
public protocol ModelledDisk: Sendable {
    /// What it has done.
    var statistics: DiskStatistics { get }
    /// The moment in nanoseconds up to which everything has happened.
    var time: Int { get }
    /// When something happens next if nothing is submitted; nil when the disk is at rest.
    var nextEvent: Int? { get }
    /// Hands over a command at the moment `time`, which counts as now when it lies in the past.
    mutating func submit(_ command: DiskCommand, at time: Int)
    /// Lets everything up to `time` happen and tells which commands it completed.
    mutating func advance(to time: Int) -> [DiskCompletion]
}

/// A drive of one of the modelled kinds.
public enum Drive: Hashable, Sendable {
    /// Platters and an arm.
    case mechanical(DiskParameters)
    /// Flash behind a controller.
    case solidState(SolidStateParameters)
    /// A disk that takes no time and counts what it is asked for.
    case instant(capacity: Int)

    /// The bytes of the whole disk.
    public var capacity: Int {
        switch self {
        case .mechanical(let parameters): parameters.capacity
        case .solidState(let parameters): parameters.capacity
        case .instant(let capacity): capacity
        }
    }

    /// The commands that it works on at a time.
    var queueDepth: Int {
        switch self {
        case .mechanical(let parameters): parameters.queueDepth
        case .solidState(let parameters): parameters.queueDepth
        case .instant: 32
        }
    }

    /// The drive at rest, its counters at `statistics`.
    public func disk(statistics: DiskStatistics = DiskStatistics()) -> any ModelledDisk {
        switch self {
        case .mechanical(let parameters): MechanicalDisk(parameters: parameters, statistics: statistics)
        case .solidState(let parameters): SolidStateDisk(parameters: parameters, statistics: statistics)
        case .instant: InstantDisk(statistics: statistics)
        }
    }
}

/// A disk that answers every command at the moment that it is submitted.
struct InstantDisk: ModelledDisk {
    private(set) var statistics: DiskStatistics
    private(set) var time = 0
    private var completed: [DiskCompletion] = []

    init(statistics: DiskStatistics) {
        self.statistics = statistics
    }

    var nextEvent: Int? { completed.isEmpty ? nil : time }

    mutating func submit(_ command: DiskCommand, at time: Int) {
        self.time = max(self.time, time)
        statistics.count(command)
        completed.append(DiskCompletion(identifier: command.identifier, time: self.time))
    }

    mutating func advance(to time: Int) -> [DiskCompletion] {
        self.time = max(self.time, time)
        defer { completed.removeAll(keepingCapacity: true) }
        return completed
    }
}
