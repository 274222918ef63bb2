import BlockStorage
import Volumes

/// One guest file system as introspection knows it.
public struct FileSystemStatus: Hashable, Sendable, Codable {
    /// The volume it is on, as ``Volumes/Volume/name`` gives it: `disk`, `partition 2`, `vg0/root` …
    public var volume: String
    /// Its kind, as `mount -t` would name it: `ext2`, `ext3`, `ext4`.
    public var kind: String
    /// Its label; empty when it has none.
    public var label: String
    /// Its UUID in the usual notation.
    public var uuid: String
    /// The size of its blocks in bytes.
    public var blockSize: Int
    /// The number of its blocks.
    public var blockCount: UInt64
    /// The number of its inodes.
    public var inodeCount: UInt64
    /// Its state when it was scanned, as `dumpe2fs` words it: `clean`, `not clean` …
    public var state = ""
    /// Its features, by the names that mke2fs has for them.
    public var features: [String] = []
}

/// How many bytes of a disk are of each class.
public struct ClassTotals: Hashable, Sendable {
    private var bytes = [Int](repeating: 0, count: BlockClass.allCases.count)

    /// Nothing of any class.
    public init() {}

    /// The number of bytes of `blockClass`.
    public subscript(blockClass: BlockClass) -> Int {
        get { bytes[Int(blockClass.rawValue)] }
        set { bytes[Int(blockClass.rawValue)] = newValue }
    }

    /// The classes that occur, in their order, with the number of bytes of each.
    public var entries: [(blockClass: BlockClass, bytes: Int)] {
        BlockClass.allCases.filter { self[$0] > 0 }.map { ($0, self[$0]) }
    }
}

/// What introspection knows of one disk, now.
public struct IntrospectionStatus: Sendable {
    /// How far introspection has come with a disk.
    public enum State: String, Sendable, Codable {
        /// No scan has been installed.
        case notScanned = "not-scanned"
        /// Scanned; neither a file system nor a partition table nor LVM was recognised.
        case unrecognised
        /// Scanned, and kept up with since.
        case current
        /// In service, but something was missed or not understood: a rescan is due.
        case stale
    }

    /// How far introspection has come.
    public var state: State
    /// The file systems that were recognised, in the order of their volumes.
    public var fileSystems: [FileSystemStatus]
    /// Bytes by class over the whole disk.
    public var totals: ClassTotals
    /// Bytes written that no structure has claimed yet.
    public var pendingBytes: Int
    /// Bytes whose pending state was given up unsettled since the last scan, since there were too many.
    public var forgottenPendingBytes: Int { deferred.forgotten }
    /// What became of pending bytes since the last scan.
    public var deferred: DeferredBytes
    /// Journals that are followed now, of the file systems that have one within.
    public var followedJournals: Int
    /// Blocks that were written and wait to be digested.
    public var undigestedBlocks: Int
    /// The memory that the class map takes, in bytes, its allocations' slack included, and what it shares with clones.
    public var mapMemoryBytes: Int
    /// Why the map is stale, in words; nil when it is not.
    public var staleReason: String?
}

/// Bytes that were pending and were settled, by what settled them.
public struct DeferredBytes: Hashable, Sendable, Codable {
    /// A structure claimed them as metadata.
    public var claimed = 0
    /// A block bitmap called them allocated, and nothing claimed them.
    public var data = 0
    /// They aged: nothing claimed them, and bitmaps went on calling them free.
    public var aged = 0
    /// There were too many to remember.
    public var forgotten = 0

    /// Nothing was settled.
    public init() {}
}

/// How far a scan has come.
public struct ScanProgress: Sendable {
    /// Bytes read so far.
    public var bytesRead: Int
    /// Bytes to read in all, as far as known by now: grows as indirect blocks name others.
    public var bytesExpected: Int

    /// A scan that has read `bytesRead` of `bytesExpected` bytes.
    public init(bytesRead: Int, bytesExpected: Int) {
        self.bytesRead = bytesRead
        self.bytesExpected = bytesExpected
    }
}

/// What a scan found and what it took.
public struct ScanReport: Sendable {
    /// What is known now that the scan is installed.
    public var status: IntrospectionStatus
    /// Bytes read from the disk.
    public var bytesRead: Int
    /// Reads made.
    public var readCount: Int
    /// How long it took.
    public var duration: Duration
    /// How long its parts took, over all file systems.
    public var durations = ScanDurations()
    /// The files of all file systems.
    public var fileCounts = FileCounts()
    /// The LVM2 physical volumes of the disk.
    public var physicalVolumes = PhysicalVolumeSet()
    /// Whether `isCancelled` ended it: nothing was installed then.
    public var wasCancelled: Bool
    /// What was wrong on the disk, a readable line each: where, what was found, what was expected.
    public var problems: [String]
    /// Whether there was more on the disk than a scan takes on: a part of the metadata is not known.
    public var isPartial = false
}

/// What the caller has to do after a recorded write.
public struct WriteOutcome: Hashable, Sendable {
    /// Whether blocks wait to be digested: call ``DiskIntrospector/digest(_:)`` soon.
    public var needsDigest: Bool
    /// Whether the map can no longer follow: call ``DiskIntrospector/scan(_:parallelism:progress:isCancelled:)``.
    public var needsRescan: Bool
    /// Whether this was the first write since the last scan that may mend what it found wrong, as when it came while a
    /// guest was half-way through: scan again when there is time.
    public var needsReview = false

    /// Nothing to do.
    public static var nothing: WriteOutcome { WriteOutcome(needsDigest: false, needsRescan: false) }
}

/// What a digest changed.
public struct DigestResult: Sendable {
    /// The ranges of the disk whose class changed, each with its new class, in the order the changes were made.
    ///
    /// Not complete when ``hasMoreChanges`` says so.
    public var changes: [(range: ByteRange, blockClass: BlockClass)]
    /// Whether more changed than ``changes`` has room for.
    public var hasMoreChanges: Bool
    /// Whether blocks still wait: the call reached its limit of work, call it again.
    public var needsDigest: Bool
    /// Whether the map can no longer follow: a rescan is due.
    public var needsRescan: Bool
    /// Whether something was written since the last scan that may mend what it found wrong.
    public var needsReview = false
}

/// What the block at an offset of the disk is.
public struct Explanation: Hashable, Sendable {
    /// The offset that was asked for, in bytes from the start of the virtual disk.
    public var offset: Int
    /// What the block is.
    public var blockClass: BlockClass
    /// The partition that holds the offset, as its number; nil outside of partitions.
    public var partition: Int?
    /// The volume's name; nil outside of volumes.
    public var volume: String?
    /// The kind of the file system; nil when there is none.
    public var fileSystem: String?
    /// The block's number in the file system.
    public var block: UInt64?
    /// The size of the file system's blocks in bytes.
    public var blockSize: Int?
    /// The block group that holds the block.
    public var group: Int?
    /// The inode that the block belongs to.
    public var inode: UInt64?
    /// A path of that inode in its file system, from `/`.
    public var path: ByteString?
    /// Where in that inode's contents the offset is, in bytes; nil when it is not in the contents of a plain file.
    public var fileOffset: Int?

    /// An explanation that knows the class only.
    public init(offset: Int, blockClass: BlockClass) {
        self.offset = offset
        self.blockClass = blockClass
    }
}
