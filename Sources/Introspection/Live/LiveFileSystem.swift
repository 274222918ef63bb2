import BlockStorage
import GuestFilesystems

/// A guest file system in service: its map, and what was written to it since the map was last brought up to date.
///
/// Guarded by the lock of the ``DiskIntrospector`` it belongs to. An object, since copying a value of so many parts
/// would cost a write more than all the rest; what every write looks at goes without the checks of exclusive access that
/// objects have at run time, since the lock sees to it.
final class LiveFileSystem: @unchecked Sendable {
    /// The most runs of written metadata blocks that may wait for a digest: 256 KiB.
    static let undigestedRunLimit = 16_384

    /// The index of its volume.
    let volume: Int
    let geometry: ExtGeometry
    var places: ExtPlaces
    var descriptors: [ExtGroupDescriptor]
    @exclusivity(unchecked) var map: FileSystemMap
    /// Blocks that were written and decide the class of others.
    @exclusivity(unchecked) var undigested = BlockRunSet()
    /// Which blocks were written since the current digest began.
    @exclusivity(unchecked) var written = WriteFilter()
    /// Whether more was written than ``undigested`` may hold.
    @exclusivity(unchecked) var hasLostWrites = false
    /// The journal; nil when there is none that can be followed.
    @exclusivity(unchecked) var journal: LiveJournal?
    var hand = 0
    /// Inode tables, directories and nodes that were written since the object index was last brought up to date; nil
    /// when there is none, or more was written than can be noted.
    @exclusivity(unchecked) var writtenObjects: BlockRunSet?

    /// Whether the scan may have come while it was made: it found something wrong, or no guest has mounted it yet.
    private let isInTheMaking: Bool
    /// Whether something was written since that another scan may find otherwise.
    @exclusivity(unchecked) private(set) var needsReview = false

    /// The file system as a scan found it on the volume with index `volume`.
    init(_ scanned: ScannedFileSystem, volume: Int, hasProblems: Bool = false) {
        self.volume = volume
        // A superblock may be there long before the bitmaps, the tables and the end of what was there before. What mkfs
        // wrote is all there when a guest mounts it.
        isInTheMaking = hasProblems || scanned.geometry.superblock.mountTime == 0
        geometry = scanned.geometry
        descriptors = scanned.descriptors
        places = ExtPlaces(scanned.geometry, scanned.descriptors)
        let superblock = scanned.geometry.superblock
        var fixed = scanned.geometry.fixedRuns(scanned.descriptors).runs
        if superblock.firstDataBlock > 0 {
            // The boot block, which is before the first group.
            fixed.append(MetadataRun(block: 0, count: superblock.firstDataBlock, blockClass: .unknown))
        }
        map = FileSystemMap(
            blockSize: superblock.blockSize, allocation: scanned.allocation, fixed: fixed)
        map.load(scanned.runs, roots: scanned.roots)
        journal = scanned.journal.map(LiveJournal.init)
    }

    var memoryBytes: Int {
        map.memoryBytes + places.memoryBytes + undigested.memoryBytes + written.memoryBytes
            + descriptors.capacity * MemoryLayout<ExtGroupDescriptor>.stride + (journal?.memoryBytes ?? 0)
            + (writtenObjects?.memoryBytes ?? 0)
    }

    /// Whether there is something to digest.
    var needsDigest: Bool { !undigested.isEmpty || journalNeedsDigest }

    /// Whether there is something to digest of the journal.
    var journalNeedsDigest: Bool {
        journal?.follower.hasWork == true || journal?.copies.hasExpired == true || journal?.untagsFrom != nil
            || journal?.unexpected.isEmpty == false
    }

    /// The blocks that hold bytes of `range` of the volume, cut to the file system.
    func blocks(of range: ByteRange) -> Range<UInt64> {
        let size = UInt64(map.blockSize)
        let start = min(UInt64(range.offset) / size, map.blockCount)
        return start..<max(start, min((UInt64(range.end) + size - 1) / size, map.blockCount))
    }

    /// Takes note of a write of `bytes` to `range` of the volume. Returns whether there is something to digest for it.
    func record(_ range: ByteRange, bytes: UnsafeRawBufferPointer) -> Bool {
        let blocks = blocks(of: range)
        written.insert(blocks)
        if journal?.copies.isEmpty == false { journal?.copies.remove(blocks) }
        var needsDigest = false
        var block = blocks.lowerBound
        while block < blocks.upperBound {
            let piece = map.piece(at: block, limit: blocks.upperBound)
            let part = block..<piece.end
            noteObjects(in: part, piece)
            if piece.blockClass != .journal { noteWrite(of: part, isKnown: true) }
            if piece.isFixed {
                noteAllocationWritten(in: part, piece.blockClass)
                let decides = recordFixed(part, piece.blockClass)
                // For a scan inode bitmaps decide, too.
                if decides || piece.blockClass == .inodeBitmap { noteMetadataWritten() }
                needsDigest = decides || needsDigest
            } else if piece.pointsAtMetadata {
                noteMetadataWritten()
                markUndigested(part)
                needsDigest = true
            } else if piece.blockClass == .journal {
                needsDigest = recordJournal(part, range.offset..<range.end, bytes: bytes) || needsDigest
            } else if piece.blockClass == .free || piece.blockClass == .pending {
                map.deferred.forgotten += map.setPending(part, hand: &hand)
            }
            block = piece.end
        }
        return needsDigest
    }

    /// Has the object index look at the blocks of `range` again, of which `piece` tells.
    func noteObjects(in range: Range<UInt64>, _ piece: FileSystemMap.Piece) {
        guard writtenObjects != nil else { return }
        switch piece.blockClass {
        case .inodeTable, .directory, .indirect: insertObjects(range)
        default: return
        }
    }

    /// Has the object index look at the block `table` of an inode table again.
    func noteTable(_ table: UInt64) { insertObjects(table..<table + 1) }

    private func insertObjects(_ range: Range<UInt64>) {
        writtenObjects?.insert(range)
        if writtenObjects?.runCount ?? 0 > Self.undigestedRunLimit { writtenObjects = nil }
    }

    /// Has `range` digested by the next digest.
    func markUndigested(_ range: Range<UInt64>) {
        undigested.insert(range)
        guard undigested.runCount > Self.undigestedRunLimit else { return }
        undigested = BlockRunSet()
        hasLostWrites = true
    }

    /// Takes note that the guest has written something that a scan reads; what a digest finds out is no news to scans.
    func noteMetadataWritten() {
        if isInTheMaking { needsReview = true }
    }

    /// Has those of the fixed blocks of `range` digested that decide something. Returns whether there are any.
    func recordFixed(_ range: Range<UInt64>, _ blockClass: BlockClass) -> Bool {
        guard Self.mayDecide(blockClass) else { return false }
        var hasAny = false
        places.forEachDigestible(in: range) { part in
            markUndigested(part)
            hasAny = true
        }
        return hasAny
    }

    /// Whether fixed blocks of `blockClass` are among those that decide something.
    static func mayDecide(_ blockClass: BlockClass) -> Bool {
        switch blockClass {
        case .superblock, .groupDescriptor, .blockBitmap, .inodeTable: true
        default: false
        }
    }
}
