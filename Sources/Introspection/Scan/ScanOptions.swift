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
    /// The most groups that the file systems of a disk may have: 128 TiB with the usual 128 MiB a group.
    public var groupLimit = 1 << 20
    /// The most blocks that the file systems of a disk may have: 512 TiB with the usual 4 KiB.
    public var blockLimit: UInt64 = 1 << 37
    /// The most bytes that the bits of a disk's bitmaps may take; parts that are free or allocated as a whole take
    /// next to nothing. What there is no room for counts as allocated.
    public var allocationLimit = 1 << 30
    /// The most bytes that are read.
    public var readLimit = Int.max
    /// The most runs of metadata that the file systems of a disk may have; nil for what ``runLimit(blockCount:)`` works out.
    public var runLimit: Int?
    /// The most blocks that the journals of a disk may have which are followed, each of which takes a bit; e2fsprogs makes
    /// none of more than 10,240,000.
    public var journalLimit = 1 << 24
    /// The most volumes that are looked into.
    public var volumeLimit = 1024
    /// The most problems that are kept for a file system, and again for the disk; further ones are only counted.
    public var problemLimit = 50

    /// The defaults.
    public init() {}

    /// What a scan may take on of a disk whose files take `storedBytes` on the server: real metadata is stored, and what is
    /// found beyond that are holes, or the same blocks again. Some more than any real file system needs, so that an image
    /// that says much in a few MiB costs no more than it is worth.
    public init(storedBytes: Int) {
        let stored = max(0, storedBytes)
        groupLimit = min(groupLimit, 32_768 + stored / 64)
        allocationLimit = min(allocationLimit, (32 << 20) + stored / 4096)
        readLimit = (256 << 20) + min(stored, Int.max / 4) * 2
        runLimit = min(65_536 + stored / 4096, Self.mostRuns)
    }

    private static let mostRuns = 16 << 20

    /// Takes off what `found` has taken of what the file systems of a disk may have together.
    mutating func take(_ found: ScannedFileSystem) {
        groupLimit -= found.geometry.groupCount
        blockLimit -= min(blockLimit, found.geometry.endBlock)
        allocationLimit = max(0, allocationLimit - found.allocation.memoryBytes)
        journalLimit -= found.journal.map { Int($0.superblock.length) } ?? 0
    }

    /// A quarter of the blocks and some more: beyond what any real file system has, and bounded for hostile ones.
    func runLimit(blockCount: UInt64) -> Int {
        runLimit ?? Int(min(blockCount / 4 + 65_536, UInt64(Self.mostRuns)))
    }
}
