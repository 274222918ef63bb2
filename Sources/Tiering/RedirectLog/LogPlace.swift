/// How the devices of a log belong together.
public enum LogLayout: UInt8, Sendable, CustomStringConvertible {
    case single = 1
    /// Each has a part: nothing can be read without any one of them.
    case stripe = 2
    /// Each has everything.
    case mirror = 3

    /// In the words of messages.
    public var description: String {
        switch self {
        case .single: "on one device"
        case .stripe: "spread over devices"
        case .mirror: "mirrored"
        }
    }
}

/// The place of a device in a log, as its superblock says it.
public struct LogPlace: Hashable, Sendable {
    /// How the log's devices belong together.
    public let layout: LogLayout
    /// Which of them this is, from 0.
    public let index: Int
    /// How many there are.
    public let count: Int
    /// The bytes at the start of each device of a stripe that the ring leaves alone; 0 where only the first has
    /// superblocks, as in the first form.
    public let headerSize: Int

    /// What is wrong with the use of a device.
    public enum Mismatch: Sendable {
        /// The log has other devices, or they belong together in another way.
        case layout
        /// The devices of a stripe are in another order.
        case order
    }

    /// What is wrong with the use of the device as number `index` of the `count` devices of a log that is laid out as
    /// `layout`; nil when the log was made so. Read in any other way, it would be nonsense, and be written over.
    public func mismatch(_ layout: LogLayout, of count: Int, at index: Int) -> Mismatch? {
        guard layout == self.layout, count == self.count else { return .layout }
        return layout == .stripe && index != self.index ? .order : nil
    }
}

/// What a device says of the log that it belongs to.
public struct LogLabel: Sendable {
    /// What tells the log from all others.
    public let identity: UInt128
    /// Grows with each start and each checkpoint.
    public let generation: UInt64
    /// The generation that the last start gave it.
    public var epoch: UInt64 { superblock.epoch }
    /// Nil in the first form, which does not say it.
    public let place: LogPlace?
    let superblock: LogSuperblock

    /// Whether the log was never opened since it was made: it holds nothing.
    public var isNew: Bool { generation == LogSuperblock.firstGeneration(of: identity) }

    /// Whether a log that was made on a device of `size` bytes would be divided as this one is.
    public func fits(_ size: Int) -> Bool {
        LogGeometry(deviceSize: size, blockSize: superblock.blockSize)?.segmentSize == superblock.segmentSize
    }
}
