/// What a solid-state disk is like. Times are in nanoseconds, sizes in bytes, rates in bytes a second.
public struct SolidStateParameters: Hashable, Sendable, Codable {
    /// The size of the whole disk.
    public var capacity: Int
    /// How long a 4 KiB read takes while the disk has nothing else to do.
    public var readLatency: Int
    /// How long a 4 KiB write takes into a buffer that has room for it.
    public var writeLatency: Int
    /// The rate of long reads.
    public var readBandwidth: Int
    /// The rate of long writes.
    public var writeBandwidth: Int
    /// Short reads a second with a full queue: what all channels together can do.
    public var readsPerSecond: Int
    /// Scattered short writes a second that the flash takes.
    public var writesPerSecond: Int
    /// The rate between the controller and the host.
    public var interfaceRate: Int
    /// How much written data the controller holds before it is in the flash; 0 for a disk that writes through.
    public var writeCache: Int
    /// The most written data that goes to the flash in one go; reads wait behind it.
    public var writeBackUnit: Int
    /// What a flush takes beside the writing.
    public var flushLatency: Int
    /// Whether capacitors save the buffer: a flush then need not wait for the flash.
    public var isPowerLossProtected: Bool
    /// How many commands the disk works on at a time.
    public var queueDepth: Int

    /// Intel X25-M, 80 GB, first generation: the SSD of the paper.
    ///
    /// Latencies, rates and operations a second are the data sheet's. The buffer's size is not in it: Intel keeps
    /// little of what the host writes.
    public static let x25m = SolidStateParameters(
        capacity: 80_026_361_856,
        readLatency: 85_000,
        writeLatency: 115_000,
        readBandwidth: 250_000_000,
        writeBandwidth: 70_000_000,
        readsPerSecond: 35_000,
        writesPerSecond: 3_300,
        interfaceRate: 280_000_000,
        writeCache: 256 << 10,
        writeBackUnit: 32 << 10,
        flushLatency: 50_000,
        isPowerLossProtected: false,
        queueDepth: 32)

    /// A data-centre NVMe disk of 1 TB with power-loss protection, by what data sheets of its kind say (such as that
    /// of Intel's P4510).
    ///
    /// A program that serves it through FUSE does not reach its operations a second: the machine's limit comes first.
    public static let nvme = SolidStateParameters(
        capacity: 1_000_204_886_016,
        readLatency: 77_000,
        writeLatency: 18_000,
        readBandwidth: 2_850_000_000,
        writeBandwidth: 1_100_000_000,
        readsPerSecond: 465_000,
        writesPerSecond: 70_000,
        interfaceRate: 3_500_000_000,
        writeCache: 1 << 20,
        writeBackUnit: 64 << 10,
        flushLatency: 20_000,
        isPowerLossProtected: true,
        queueDepth: 128)
}
