import BlockStorage
import GuestFilesystems

/// A guest file system in service: its map, and what was written to it since the map was last brought up to date.
///
/// Guarded by the lock of the ``DiskIntrospector`` it belongs to. An object, since copying a value of so many parts
/// would cost a write more than all the rest.
final class LiveFileSystem: @unchecked Sendable {
    /// The most runs of written metadata blocks that may wait for a digest: 256 KiB.
    static let undigestedRunLimit = 16_384

    /// The index of its volume.
    let volume: Int
    let geometry: ExtGeometry
    let places: ExtPlaces
    var descriptors: [ExtGroupDescriptor]
    var map: FileSystemMap
    /// Blocks that were written and decide the class of others.
    var undigested = BlockRunSet()
    /// Which blocks were written since the current digest began.
    var written = WriteFilter()
    /// Whether more was written than ``undigested`` may hold.
    var hasLostWrites = false
    /// Blocks that are not pending any more though nothing has settled them.
    var forgottenPendingBlocks: UInt64 = 0
    private var hand = 0

    /// The file system as a scan found it on the volume with index `volume`.
    init(_ scanned: ScannedFileSystem, volume: Int) {
        self.volume = volume
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
    }

    var memoryBytes: Int {
        map.memoryBytes + places.memoryBytes + undigested.memoryBytes + written.memoryBytes
            + descriptors.capacity * MemoryLayout<ExtGroupDescriptor>.stride
    }

    /// The blocks that hold bytes of `range` of the volume, cut to the file system.
    func blocks(of range: ByteRange) -> Range<UInt64> {
        let size = UInt64(map.blockSize)
        let start = min(UInt64(range.offset) / size, map.blockCount)
        return start..<max(start, min((UInt64(range.end) + size - 1) / size, map.blockCount))
    }

    /// Takes note of a write to `blocks`. Returns whether there is something to digest for it.
    ///
    /// - Parameter isExact: Whether all of them were written for sure; otherwise free blocks stay free.
    func record(_ blocks: Range<UInt64>, isExact: Bool = true) -> Bool {
        written.insert(blocks)
        var needsDigest = false
        var block = blocks.lowerBound
        while block < blocks.upperBound {
            let piece = map.piece(at: block, limit: blocks.upperBound)
            let range = block..<piece.end
            if piece.isFixed {
                needsDigest = recordFixed(range, piece.blockClass) || needsDigest
            } else if piece.pointsAtMetadata {
                markUndigested(range)
                needsDigest = true
            } else if isExact, piece.blockClass == .free || piece.blockClass == .pending {
                forgottenPendingBlocks += map.setPending(range, hand: &hand)
            }
            block = piece.end
        }
        return needsDigest
    }

    /// Has `range` digested by the next digest.
    func markUndigested(_ range: Range<UInt64>) {
        undigested.insert(range)
        guard undigested.runCount > Self.undigestedRunLimit else { return }
        undigested = BlockRunSet()
        hasLostWrites = true
    }

    private func recordFixed(_ range: Range<UInt64>, _ blockClass: BlockClass) -> Bool {
        switch blockClass {
        case .superblock, .groupDescriptor, .blockBitmap, .inodeTable: break
        default: return false
        }
        var parts: [Range<UInt64>] = []
        places.forEachDigestible(in: range) { parts.append($0) }
        for part in parts { markUndigested(part) }
        return !parts.isEmpty
    }
}
