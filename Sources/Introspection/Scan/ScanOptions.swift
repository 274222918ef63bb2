/// How a scan reads, and how much it takes on.
public struct ScanOptions: Sendable {
    /// The largest read in bytes.
    public var requestLimit = 1 << 20
    /// How many unwanted bytes between two wanted blocks are read along rather than skipped. More gains nothing on a
    /// mechanical disk, which reads ahead by itself, and costs on any other.
    public var gapTolerance = 16 << 10
    /// Reads at a time. A mechanical disk that may choose among 16 takes two thirds of the time that it takes for one
    /// after the other.
    public var parallelism = 16
    /// The most groups a file system may have: 128 TiB with the usual 128 MiB a group.
    public var groupLimit = 1 << 20
    /// The most blocks that a file system may have: 512 TiB with the usual 4 KiB.
    public var blockLimit: UInt64 = 1 << 37
    /// The most bytes that the bits of a file system's bitmaps may take; parts that are free or allocated as a whole take
    /// next to nothing. What there is no room for counts as allocated.
    public var allocationLimit = 1 << 30
    /// The most runs of metadata that a file system may have; nil for what ``runLimit(blockCount:)`` works out.
    public var runLimit: Int?
    /// The most problems that are kept for a file system; further ones are only counted.
    public var problemLimit = 50

    /// The defaults.
    public init() {}

    /// A quarter of the blocks and some more: beyond what any real file system has, and bounded for hostile ones.
    func runLimit(blockCount: UInt64) -> Int {
        runLimit ?? Int(min(blockCount / 4 + 65_536, 16 << 20))
    }
}
