import BlockStorage
import GuestFilesystems

/// One digest of one ext file system: reads the metadata blocks that were written, and brings the map up to date.
///
/// Every block is read as it is now, so that neither the order of the writes nor how they were cut matters. The map
/// is held only to compare and to change, never while something is read.
final class ExtDigest {
    /// How much a digest takes on.
    struct Limits {
        /// Blocks that were written; further ones wait for the next digest.
        var blocks: UInt64 = 16_384
        /// Bytes that are read in following what changed inodes point at.
        var walkBytes = 64 << 20
        /// Runs of metadata that the file system's map may come to have.
        var runs = Int.max
        /// Inodes that are walked again because others gave up their blocks.
        var rechecks = 4096
        /// Ranges that are reported as changed.
        var changes = 65_536
    }

    /// Changes the file system in service; nothing happens when that is another by now.
    typealias Access = (_ body: (LiveFileSystem) -> Void) -> Void

    let geometry: ExtGeometry
    let places: ExtPlaces
    let limits: Limits
    let access: Access
    /// Reads what was written.
    let reader: NewestReader
    /// Reads what that leads to.
    let walkReader: DigestReader
    let inodeWalk: ExtInodeWalk
    var descriptors: [ExtGroupDescriptor]

    /// Why the map can no longer follow; nil when it can.
    private(set) var staleReason: String?
    /// Ranges of blocks that changed, each with its class since.
    private(set) var changes: [(blocks: Range<UInt64>, blockClass: BlockClass)] = []
    private(set) var hasMoreChanges = false
    /// Ranges that may have changed, of which the classes are not looked up yet.
    private var changedRanges: [Range<UInt64>] = []

    /// Tagged blocks of the transactions that this digest takes up as a whole.
    private var unclaimed: BlockRunSet?
    /// Inodes that were walked.
    var walked: Set<UInt32> = []
    /// Inodes to walk again, since others gave up blocks that both claimed.
    var rechecks: [UInt32] = []
    /// Blocks that may or may not hold extended attributes.
    var doubtfulAttributes: [UInt64] = []
    /// Blocks that held extended attributes until an inode claimed them which has given them up, each with an inode
    /// that claimed it before.
    var formerAttributes: [(block: UInt64, owner: UInt32)] = []

    /// What a digest needs to know of its file system: all but the map, which must have one owner only.
    struct Subject: Sendable {
        var volume: Int
        var geometry: ExtGeometry
        var places: ExtPlaces
        var descriptors: [ExtGroupDescriptor]
        var log: JournalLog?

        init(_ fileSystem: LiveFileSystem) {
            volume = fileSystem.volume
            geometry = fileSystem.geometry
            places = fileSystem.places
            descriptors = fileSystem.descriptors
            log = fileSystem.journal?.log
        }
    }

    /// A digest of the file system that `subject` describes and `volume` reads.
    init(_ subject: Subject, volume: VolumeReader, limits: Limits, access: @escaping Access) {
        geometry = subject.geometry
        places = subject.places
        descriptors = subject.descriptors
        self.limits = limits
        self.access = access
        reader = NewestReader(
            volume: volume, blockSize: subject.geometry.blockSize, log: subject.log, access: access)
        walkReader = DigestReader(reader, budget: limits.walkBytes)
        var walk = ExtInodeWalk(geometry: geometry, reader: walkReader)
        walk.nodeLimit = limits.walkBytes / geometry.blockSize
        walk.runLimit = min(walk.runLimit, limits.runs)
        inodeWalk = walk
    }

    /// What was written, sorted out.
    struct Work {
        var hasSuperblock = false
        var descriptorBlocks: [Int] = []
        var bitmapGroups: Set<Int> = []
        /// Sorted by block.
        var tableBlocks: [(block: UInt64, group: Int, index: Int)] = []
        /// Inodes whose nodes were written.
        var owners: Set<UInt32> = []
    }

    /// Digests what waits, up to the limits.
    func run() {
        if let log = reader.log {
            JournalDigest(log: log, blockSize: geometry.blockSize, volume: reader.volume, access: access).run()
        }
        var work = takeWork()
        if work.hasSuperblock { checkSuperblock() }
        checkDescriptors(work.descriptorBlocks, &work)
        guard staleReason == nil else { return }
        for group in work.bitmapGroups.sorted() { digestBitmap(group) }
        digestTables(work.tableBlocks)
        for inode in work.owners.sorted() where !walked.contains(inode) { rewalk(inode) }
        settleDoubts()
        settleTags()
        lookUpChanges()
    }

    /// Decides on the blocks that committed transactions tagged, when all that they changed has been digested.
    private func settleTags() {
        guard staleReason == nil, let unclaimed else { return }
        var newData = 0
        unclaimed.forEach { run in
            for start in stride(from: run.block, to: run.end, by: Self.blocksAtOnce) {
                let blocks = start..<min(run.end, start + UInt64(Self.blocksAtOnce))
                access { newData += $0.settleUnclaimed(blocks, changed: note) }
            }
        }
        access { $0.noteJournalledData(newData) }
    }

    /// Blocks that are looked at while the map is held.
    private static let blocksAtOnce = 256
    /// Pieces of the map that are.
    private static let piecesAtOnce = 512

    func fail(_ reason: @autoclosure () -> String) {
        if staleReason == nil { staleReason = reason() }
    }

    /// Has claims looked at again that lost against one which was given up.
    func recheck(_ conflicts: [FileSystemMap.Conflict]) {
        for conflict in conflicts {
            rechecks.append(conflict.loser)
            if conflict.wereAttributes { formerAttributes.append((conflict.block, conflict.loser)) }
        }
    }

    /// Notes that `range` may have changed its class.
    func note(_ range: Range<UInt64>) {
        if changedRanges.count < limits.changes { changedRanges.append(range) } else { hasMoreChanges = true }
    }

    /// Finds out what became of the ranges that may have changed, as far as there is room to tell: else the caller looks
    /// at everything.
    private func lookUpChanges() {
        for range in changedRanges where !hasMoreChanges {
            var next: UInt64? = range.lowerBound
            while let start = next, start < range.upperBound, !hasMoreChanges {
                next = nil
                let rest = start..<range.upperBound
                access { next = $0.map.forEachClass(in: rest, pieces: Self.piecesAtOnce, self.add) }
            }
        }
    }

    private func add(_ blocks: Range<UInt64>, _ blockClass: BlockClass) {
        if let last = changes.last, last.blockClass == blockClass, last.blocks.upperBound == blocks.lowerBound {
            changes[changes.count - 1].blocks = last.blocks.lowerBound..<blocks.upperBound
        } else if changes.count < limits.changes {
            changes.append((blocks, blockClass))
        } else {
            hasMoreChanges = true
        }
    }

    /// Takes what waits out of the file system, up to the limit.
    private func takeWork() -> Work {
        var taken: [Range<UInt64>] = []
        var room = limits.blocks
        access { $0.written.clear() }
        var isOver = false
        while !isOver {
            isOver = true
            access { fileSystem in
                for _ in 0..<Self.blocksAtOnce {
                    guard room > 0, let run = fileSystem.undigested.firstRun(endingAfter: 0) else { return }
                    let range = run.block..<min(run.end, run.block + room)
                    fileSystem.undigested.remove(range)
                    taken.append(range)
                    room -= UInt64(range.count)
                }
                isOver = false
            }
        }
        access { fileSystem in
            if fileSystem.undigested.isEmpty {
                self.unclaimed = fileSystem.journal?.unclaimed
                fileSystem.journal?.unclaimed = BlockRunSet()
            }
        }
        var work = Work()
        var unfixed: [UInt64] = []
        for block in taken.joined() {
            switch places.place(of: block) {
            case .superblock: work.hasSuperblock = true
            case .descriptors(let index): work.descriptorBlocks.append(index)
            case .blockBitmap(let group): work.bitmapGroups.insert(group)
            case .inodeTable(let group, let index): work.tableBlocks.append((block, group, index))
            case nil: unfixed.append(block)
            }
        }
        sortOut(unfixed, &work)
        return work
    }

    private func sortOut(_ blocks: [UInt64], _ work: inout Work) {
        var rest = blocks[...]
        while !rest.isEmpty {
            let batch = rest.prefix(256)
            rest = rest.dropFirst(256)
            var owners: [UInt32] = []
            var doubtful: [UInt64] = []
            access { fileSystem in
                for block in batch {
                    let piece = fileSystem.map.piece(at: block, limit: block + 1)
                    guard piece.pointsAtMetadata else { continue }
                    if fileSystem.map.attributeOwner(of: block) != nil {
                        doubtful.append(block)
                    } else {
                        owners.append(piece.owner)
                    }
                }
            }
            work.owners.formUnion(owners)
            doubtfulAttributes += doubtful
        }
    }

    /// Reads `count` blocks from `block` and has `body` look at them; nil, and the map is stale, when that fails.
    @discardableResult
    func withBlocks<Result>(
        _ block: UInt64, count: Int = 1, as blockClass: BlockClass, _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result? {
        let range = ByteRange(offset: Int(block) * geometry.blockSize, length: count * geometry.blockSize)
        let buffer = AlignedBuffer(count: range.length)
        return withExtendedLifetime(buffer) {
            do throws(StorageError) {
                try reader.read(range, as: blockClass, into: buffer.bytes)
            } catch {
                fail("a block that was written cannot be read: \(error)")
                return nil
            }
            return body(UnsafeRawBufferPointer(buffer.bytes))
        }
    }
}
