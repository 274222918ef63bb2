/// What a mechanical disk is like. Times are in nanoseconds, sizes in bytes, rates in bytes a second.
public struct DiskParameters: Hashable, Sendable, Codable {
    /// The size of the whole disk, over which the seek curve spans.
    public var capacity: Int
    /// Revolutions a minute.
    public var rotationsPerMinute: Int
    /// The rate at which bytes pass under the head, track changes included.
    public var transferRate: Int
    /// Surfaces, each with a head; together their tracks make a cylinder, within which nothing need be sought.
    public var surfaces: Int
    /// How long the arm takes.
    public var seek: SeekCurve
    /// What every command costs before anything else.
    public var commandOverhead: Int
    /// The rate between the drive's buffer and the host.
    public var interfaceRate: Int
    /// How far the drive reads on after a read, while nothing else wants the head.
    public var readAhead: Int
    /// How many stretches of read data the drive's buffer holds.
    public var readSegments: Int
    /// How much written data the buffer holds before it is on the platter; 0 for a disk that writes through.
    public var writeCache: Int
    /// The most written data that goes to the platter in one go.
    public var writeBackUnit: Int
    /// How many commands the drive holds and chooses from.
    public var queueDepth: Int
    /// The age at which a command is served before all others, however far its place is.
    public var patience: Int

    /// Fujitsu MHZ2250B, the disk of the paper: 2.5 inches, 250 GB, 5400 rpm, an 8 MiB buffer, Serial ATA at 3 Gb/s.
    ///
    /// From the data sheet: average seek 12 ms, track to track 1.5 ms. About 65 MB/s in the middle of the platter.
    /// The division of the buffer, the write-back unit and the patience are not in the data sheet.
    public static let mhz2250b = DiskParameters(
        capacity: 250_059_350_016,
        rotationsPerMinute: 5400,
        transferRate: 65_000_000,
        surfaces: 4,
        seek: SeekCurve(
            shortBase: 1_500_000, shortFactor: 19_000_000, knee: 0.3, longBase: 6_703_000, longFactor: 17_345_000),
        commandOverhead: 150_000,
        interfaceRate: 250_000_000,
        readAhead: 512 << 10,
        readSegments: 12,
        writeCache: 2 << 20,
        writeBackUnit: 256 << 10,
        queueDepth: 32,
        patience: 1_000_000_000)

    /// A nearline disk of 4 TB with 7200 rpm, by the data sheet of Seagate's Constellation ES.3: average read seek
    /// 8.5 ms, 175 MB/s, a buffer of 128 MiB. The shape of its seek curve is the ``mhz2250b``'s.
    public static let nearline7200 = DiskParameters(
        capacity: 4_000_787_030_016,
        rotationsPerMinute: 7200,
        transferRate: 175_000_000,
        surfaces: 8,
        seek: SeekCurve(
            shortBase: 800_000, shortFactor: 13_933_000, knee: 0.3, longBase: 4_615_000, longFactor: 12_720_000),
        commandOverhead: 100_000,
        interfaceRate: 550_000_000,
        readAhead: 2 << 20,
        readSegments: 32,
        writeCache: 8 << 20,
        writeBackUnit: 1 << 20,
        queueDepth: 32,
        patience: 1_000_000_000)

    /// How long one revolution takes, in nanoseconds.
    var revolution: Int { 60_000_000_000 / max(1, rotationsPerMinute) }

    /// The bytes of one track: what passes under a head in a revolution, in whole sectors.
    var bytesPerTrack: Int {
        max(512, Int(Double(transferRate) * Double(revolution) / 1e9) / 512 * 512)
    }

    /// Cylinders from the first to the one that holds the last byte.
    var cylinders: Int { max(1, (capacity - 1) / (bytesPerTrack * max(1, surfaces)) + 1) }

    /// The cylinder that holds the byte at `offset`.
    func cylinder(of offset: Int) -> Int { offset / (bytesPerTrack * max(1, surfaces)) }

    /// How long the arm takes between the cylinders of two bytes, in nanoseconds.
    func seekTime(from: Int, to: Int) -> Int {
        let distance = abs(cylinder(of: from) - cylinder(of: to))
        return distance == 0 ? 0 : seek.time(overFraction: Double(distance) / Double(max(1, cylinders - 1)))
    }

    /// When the byte at `offset` passes the head, had the disk been read from byte 0 without a pause; modulo
    /// ``revolution`` this is the byte's angle. Sectors are laid out so that reading on never waits.
    func passage(of offset: Int) -> Int {
        offset / bytesPerTrack * revolution + offset % bytesPerTrack * revolution / bytesPerTrack
    }

    /// How long the byte at `offset` takes to come under the head from the moment `time`, in nanoseconds.
    func rotationalDelay(to offset: Int, at time: Int) -> Int {
        let difference = (passage(of: offset) - time) % revolution
        return difference < 0 ? difference + revolution : difference
    }

    /// How long `count` bytes take between buffer and host, in nanoseconds.
    func interfaceTime(of count: Int) -> Int {
        Int(Double(count) / Double(max(1, interfaceRate)) * 1e9)
    }
}

/// How long a seek takes: `shortBase + shortFactor * sqrt(x)` up to the knee, `longBase + longFactor * x` beyond,
/// where x is the distance as a fraction of the full stroke. Times in nanoseconds.
///
/// The arm accelerates over short distances and coasts over long ones, hence the two pieces.
public struct SeekCurve: Hashable, Sendable, Codable {
    /// The time that the shortest seek tends to.
    public var shortBase: Int
    /// The growth of short seeks.
    public var shortFactor: Int
    /// The fraction of the full stroke where the long piece begins.
    public var knee: Double
    /// The intercept of the long piece.
    public var longBase: Int
    /// The slope of the long piece.
    public var longFactor: Int

    /// A curve of these five numbers.
    public init(shortBase: Int, shortFactor: Int, knee: Double, longBase: Int, longFactor: Int) {
        self.shortBase = shortBase
        self.shortFactor = shortFactor
        self.knee = knee
        self.longBase = longBase
        self.longFactor = longFactor
    }

    /// The time in nanoseconds over `fraction` of the full stroke.
    public func time(overFraction fraction: Double) -> Int {
        fraction < knee
            ? shortBase + Int(Double(shortFactor) * fraction.squareRoot())
            : longBase + Int(Double(longFactor) * fraction)
    }
}
