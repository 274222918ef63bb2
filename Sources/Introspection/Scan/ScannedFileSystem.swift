import GuestFilesystems
import Volumes

/// What a scan found out about one guest file system.
struct ScannedFileSystem: Sendable {
    /// The volume it is on.
    let volume: Volume
    /// Superblock and layout.
    let geometry: ExtGeometry
    /// The descriptors of all groups.
    var descriptors: [ExtGroupDescriptor]
    /// Which blocks are allocated.
    var allocation: AllocationBits
    /// Metadata that files and directories own, sorted and disjoint, without what is fixed.
    ///
    /// A block of extended attributes that several inodes share is in here once, under the lowest of their numbers.
    var runs: [MetadataRun] = []
    /// What inodes themselves point at of ``runs``: nodes, and contents that are metadata; sorted by owner and block.
    var roots: [MetadataRun] = []
    /// The journal; nil when there is none that can be followed.
    var journal: ScannedJournal?
    /// Contents of plain files with their owners, sorted by block; only when the scan was asked for them.
    var dataRuns: [OwnedRun] = []
    /// What was counted on the way.
    var counts = FileCounts()
    /// How long the parts of the scan took.
    var durations = ScanDurations()
    /// What is wrong, a readable line each.
    var problems: [String] = []
    /// Whether there was more than a scan takes on, so that a part of the metadata is not known.
    var isPartial = false
}

extension FileSystemStatus {
    /// What reports say of the file system with `superblock` on `volume`.
    init(volume: String, _ superblock: ExtSuperblock) {
        self.init(
            volume: volume, kind: superblock.kind.rawValue, label: superblock.label, uuid: superblock.uuid,
            blockSize: superblock.blockSize, blockCount: superblock.blockCount,
            inodeCount: UInt64(superblock.inodeCount), state: superblock.stateDescription,
            features: superblock.featureNames)
    }
}

/// Files of a file system by kind.
public struct FileCounts: Hashable, Sendable, Codable {
    /// Inodes in use, those of the file system itself excepted.
    public var inodes = 0
    /// Regular files.
    public var files = 0
    /// Directories.
    public var directories = 0
    /// Symbolic links.
    public var symbolicLinks = 0

    /// No files.
    public init() {}

    static func += (left: inout Self, right: Self) {
        left.inodes += right.inodes
        left.files += right.files
        left.directories += right.directories
        left.symbolicLinks += right.symbolicLinks
    }
}

/// How long the parts of a scan took.
public struct ScanDurations: Hashable, Sendable {
    /// Group descriptors, bitmaps and inode tables.
    public var groups = Duration.zero
    /// What inodes point at, level by level.
    public var levels = Duration.zero

    /// No time at all.
    public init() {}

    static func += (left: inout Self, right: Self) {
        left.groups += right.groups
        left.levels += right.levels
    }
}

/// Blocks that an inode owns, and where they are in its contents.
struct OwnedRun: Hashable, Sendable {
    /// The first block.
    var block: UInt64
    /// The number of blocks.
    var count: UInt32
    /// The inode.
    var owner: UInt32
    /// The first block's place in the file, in blocks.
    var logicalBlock: UInt64

    /// The first block after the run.
    var end: UInt64 { block + UInt64(count) }
}

extension [OwnedRun] {
    /// Sorts the runs by block and cuts off what an earlier one holds; returns how many blocks were cut off.
    mutating func makeDisjoint() -> UInt64 {
        sort { ($0.block, $0.owner, $0.logicalBlock, $0.count) < ($1.block, $1.owner, $1.logicalBlock, $1.count) }
        var end: UInt64 = 0
        var cut: UInt64 = 0
        var kept = startIndex
        for var run in self {
            let overlap = Swift.min(end > run.block ? end - run.block : 0, UInt64(run.count))
            cut += overlap
            run.block += overlap
            run.logicalBlock += overlap
            run.count -= UInt32(truncatingIfNeeded: overlap)
            end = Swift.max(end, run.end)
            guard run.count > 0 else { continue }
            self[kept] = run
            kept += 1
        }
        removeLast(count - kept)
        return cut
    }
}

extension ExtGeometry {
    /// The descriptor of `group` from the descriptor block in `block`, without flags where these cannot be relied on:
    /// where the checksum is wrong, or the file system has none. Nil when the block is too short.
    func descriptor(ofGroup group: Int, in block: RawSpan) -> (descriptor: ExtGroupDescriptor, isIntact: Bool)? {
        let offset = group % descriptorsPerBlock * superblock.descriptorSize
        guard
            var descriptor = try? ExtGroupDescriptor(parsing: block, at: offset, size: superblock.descriptorSize)
        else { return nil }
        let isIntact = ExtGroupDescriptor.hasValidChecksum(block, at: offset, group: group, superblock: superblock)
        if !isIntact || !superblock.hasGroupFlags { descriptor.flags = [] }
        return (descriptor, isIntact)
    }

    /// The fixed structures of the file system: what superblock and group descriptors place, sorted and disjoint.
    ///
    /// Structures that `descriptors` place outside the file system are left out.
    func fixedRuns(_ descriptors: [ExtGroupDescriptor]) -> ClaimedRuns {
        var runs: [MetadataRun] = []
        // The structures of a flexible group lie side by side, kind by kind: a sixteenth of the entries is left.
        var lastOfClass = [Int?](repeating: nil, count: 256)
        func add(_ blocks: Range<UInt64>, _ blockClass: BlockClass) {
            guard !blocks.isEmpty else { return }
            let kind = Int(blockClass.rawValue)
            if let last = lastOfClass[kind], runs[last].end == blocks.lowerBound,
                UInt64(runs[last].count) + UInt64(blocks.count) <= BlockRunSet.longestRun
            {
                runs[last].count += UInt32(truncatingIfNeeded: blocks.count)
                return
            }
            lastOfClass[kind] = runs.count
            runs.append(
                MetadataRun(
                    block: blocks.lowerBound, count: UInt32(truncatingIfNeeded: blocks.count), blockClass: blockClass))
        }
        for (group, descriptor) in descriptors.enumerated() {
            let overhead = overhead(ofGroup: group)
            add(overhead.superblock, .superblock)
            add(overhead.descriptors, .groupDescriptor)
            add(overhead.reservedDescriptors, .groupDescriptor)
            if let block = blockBitmap(descriptor) { add(block..<block + 1, .blockBitmap) }
            if let block = inodeBitmap(descriptor) { add(block..<block + 1, .inodeBitmap) }
            if let table = inodeTable(descriptor) { add(table, .inodeTable) }
        }
        let guardBlock = superblock.multipleMountProtectionBlock
        if contains(guardBlock) { add(guardBlock..<guardBlock + 1, .superblock) }
        return ClaimedRuns(runs)
    }
}

extension AllocationBits {
    /// Takes the state of a group's blocks over from the bytes of its block bitmap.
    mutating func setGroup(_ group: Int, of geometry: ExtGeometry, bitmap: [UInt8]) {
        let blocks = geometry.blocks(ofGroup: group)
        bitmap.withUnsafeBytes { _ = set(first: blocks.lowerBound, count: UInt64(blocks.count), bitmap: $0) }
    }
}
