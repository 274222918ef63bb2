import BlockStorage
import GuestFilesystems
import Volumes

/// Whom every block of a disk belongs to: the metadata that a scan finds, and the contents of plain files with it.
///
/// Made on demand, from a scan of its own that follows files down to their contents, and let go after use: it takes
/// 24 bytes for each extent of each file.
public struct ObjectIndex: Sendable {
    private let scan: DiskScan
    private let reader: any ClassifiedReader
    private let name: String
    /// For each file system, what structures and inodes claim, sorted and disjoint.
    private let claims: [[MetadataRun]]
    /// Where on the disk there is anything to be told, sorted and disjoint: a disk may be much larger than what is on it.
    private let known: [ByteRange]

    /// Reads the disk. `goOn` is called between reads; when it returns false the index is not complete.
    public init(
        reader: any ClassifiedReader, name: String, options: ScanOptions = ScanOptions(),
        goOn: (ScanProgress) -> Bool = { _ in true }
    ) throws(StorageError) {
        var scanner = DiskScanner(reader: reader, name: name, options: options)
        scanner.collectsData = true
        scan = try scanner.scan(goOn)
        claims = scan.fileSystems.map { found in
            found.geometry.fixedRuns(found.descriptors).adding(found.runs)
        }
        known = Self.knownRanges(of: scan)
        self.reader = reader
        self.name = name
    }

    /// Whether `goOn` ended the scan.
    public var wasCancelled: Bool { scan.wasCancelled }

    /// What is wrong on the disk, a readable line each.
    public var problems: [String] { scan.problems }

    /// Consecutive bytes of one class that belong to one inode.
    public struct Run: Hashable, Sendable {
        /// Where on the disk.
        public var range: ByteRange
        /// What the bytes are.
        public var blockClass: BlockClass
        /// The inode they belong to; nil for what belongs to none.
        public var owner: UInt64?
    }

    /// Calls `body` with runs that cover `range` without a gap, in order, each different from the next.
    public func forEachRun(in range: ByteRange, _ body: (Run) -> Void) {
        var pending: Run?
        func take(_ piece: Run) {
            if let run = pending, run.blockClass == piece.blockClass, run.owner == piece.owner {
                let length = run.range.length + piece.range.length
                pending?.range = ByteRange(offset: run.range.offset, length: length)
            } else {
                if let run = pending { body(run) }
                pending = piece
            }
        }
        var offset = range.offset
        var next = known.partitioningIndex { $0.end > offset }
        while offset < range.end {
            let part = part(from: offset, to: range.end, next < known.count ? known[next] : nil)
            if part.isKnown {
                forEachPiece(in: part.range, take)
            } else {
                take(Run(range: part.range, blockClass: .unknown))
            }
            offset = part.range.end
            if next < known.count, known[next].end <= offset { next += 1 }
        }
        if let pending { body(pending) }
    }

    /// What is looked at next: what comes before `known`, or some of it, since stripes make many segments.
    private func part(from offset: Int, to end: Int, _ known: ByteRange?) -> (range: ByteRange, isKnown: Bool) {
        guard let known, known.offset < end else {
            return (ByteRange(offset: offset, length: end - offset), false)
        }
        guard known.offset <= offset else {
            return (ByteRange(offset: offset, length: known.offset - offset), false)
        }
        return (ByteRange(offset: offset, length: min(Self.window, min(known.end, end) - offset)), true)
    }

    private static let window = 64 << 20

    private static func knownRanges(of scan: DiskScan) -> [ByteRange] {
        let volumes = scan.fileSystems.flatMap { found in
            found.volume.map.diskRanges(ofFirst: Int(found.geometry.endBlock) * found.geometry.blockSize)
        }
        let all = (scan.layout.structures.map(\.range) + volumes).sorted { $0.offset < $1.offset }
        return all.reduce(into: []) { merged, range in
            guard let last = merged.last, last.end >= range.offset else { return merged.append(range) }
            merged[merged.count - 1] = ByteRange(
                offset: last.offset, length: max(last.end, range.end) - last.offset)
        }
    }

    /// Calls `body` with pieces that cover `range` without a gap, in order.
    private func forEachPiece(in range: ByteRange, _ body: (Run) -> Void) {
        var next = range.offset
        func fill(to end: Int) {
            guard next < end else { return }
            body(Run(range: ByteRange(offset: next, length: end - next), blockClass: .unknown))
            next = end
        }
        for whole in segments(in: range) {
            guard let segment = whole.from(next) else { continue }
            fill(to: segment.range.offset)
            switch segment.content {
            case .structure(let blockClass):
                body(Run(range: segment.range, blockClass: blockClass))
            case .fileSystem(let number, let offset):
                let bytes = ByteRange(offset: offset, length: segment.range.length)
                forEachPiece(ofFileSystem: number, in: bytes) { piece in
                    let start = segment.range.offset + piece.range.offset - offset
                    var moved = piece
                    moved.range = ByteRange(offset: start, length: piece.range.length)
                    body(moved)
                }
            }
            next = segment.range.end
        }
        fill(to: range.end)
    }

    /// Bytes of the disk that something is known of.
    private struct Segment {
        enum Content {
            case structure(BlockClass)
            /// The number of a file system and where in its volume.
            case fileSystem(Int, offset: Int)
        }

        var range: ByteRange
        var content: Content

        /// What of it is at `offset` or behind; nil when nothing is.
        func from(_ offset: Int) -> Segment? {
            guard range.end > offset else { return nil }
            let skipped = max(0, offset - range.offset)
            var rest = self
            rest.range = ByteRange(offset: range.offset + skipped, length: range.length - skipped)
            if case .fileSystem(let number, let start) = content {
                rest.content = .fileSystem(number, offset: start + skipped)
            }
            return rest
        }
    }

    /// Structures and volumes with file systems in `range`, sorted. Where a volume reaches over a structure, the structure
    /// has the bytes; where two volumes share some, the first one.
    private func segments(in range: ByteRange) -> [Segment] {
        let structures = scan.layout.structures.compactMap { structure in
            structure.range.intersection(range).map {
                Segment(range: $0, content: .structure(BlockClass(structure.kind)))
            }
        }
        var segments = structures
        for (number, found) in scan.fileSystems.enumerated() {
            var next = 0
            // In the order of the disk, as the structures are.
            found.volume.map.forEachVolumeRange(ofDisk: range) { volumeRange, diskOffset in
                var rest: Segment? = Segment(
                    range: ByteRange(offset: diskOffset, length: volumeRange.length),
                    content: .fileSystem(number, offset: volumeRange.offset))
                while next < structures.count, let part = rest, structures[next].range.offset < part.range.end {
                    let structure = structures[next].range
                    if part.range.offset < structure.offset {
                        var before = part
                        before.range = ByteRange(
                            offset: part.range.offset, length: structure.offset - part.range.offset)
                        segments.append(before)
                    }
                    rest = part.from(structure.end)
                    // One that reaches further meets the volume's next range, too.
                    if structure.end <= part.range.end { next += 1 } else { break }
                }
                if let rest { segments.append(rest) }
            }
        }
        return segments.sorted { $0.range.offset < $1.range.offset }
    }

    /// Calls `body` with pieces that cover `range` of a file system's volume, in order.
    private func forEachPiece(ofFileSystem number: Int, in range: ByteRange, _ body: (Run) -> Void) {
        let found = scan.fileSystems[number]
        let blockSize = found.geometry.blockSize
        let end = min(range.end, Int(found.geometry.endBlock) * blockSize)
        var next = range.offset
        if next < end {
            let blocks = UInt64(next / blockSize)..<UInt64((end + blockSize - 1) / blockSize)
            forEachPiece(ofBlocks: blocks, found, claims[number]) { blocks, blockClass, owner in
                let stop = min(Int(blocks.upperBound) * blockSize, end)
                body(
                    Run(
                        range: ByteRange(offset: next, length: stop - next), blockClass: blockClass,
                        owner: owner == 0 ? nil : UInt64(owner)))
                next = stop
            }
        }
        if next < range.end {
            body(Run(range: ByteRange(offset: next, length: range.end - next), blockClass: .unknown))
        }
    }

    /// Calls `body` with consecutive runs that cover `range`, which is not empty and inside the file system.
    private func forEachPiece(
        ofBlocks range: Range<UInt64>, _ found: ScannedFileSystem, _ claims: [MetadataRun],
        _ body: (Range<UInt64>, BlockClass, _ owner: UInt32) -> Void
    ) {
        var claim = claims.partitioningIndex { $0.end > range.lowerBound }
        var data = found.dataIndex(of: range.lowerBound)
        var block = range.lowerBound
        while block < range.upperBound {
            var limit = range.upperBound
            while claim < claims.count, claims[claim].end <= block { claim += 1 }
            if claim < claims.count {
                let run = claims[claim]
                if run.block <= block {
                    let end = min(run.end, limit)
                    body(block..<end, run.blockClass, run.owner)
                    block = end
                    continue
                }
                limit = min(limit, run.block)
            }
            while data < found.dataRuns.count, found.dataRuns[data].end <= block { data += 1 }
            if data < found.dataRuns.count {
                let run = found.dataRuns[data]
                if run.block <= block {
                    let end = min(run.end, limit)
                    body(block..<end, .data, run.owner)
                    block = end
                    continue
                }
                limit = min(limit, run.block)
            }
            if block < UInt64(found.geometry.superblock.firstDataBlock) {
                let end = min(limit, UInt64(found.geometry.superblock.firstDataBlock))
                body(block..<end, .unknown, 0)
                block = end
                continue
            }
            let end = found.allocation.endOfRun(from: block, limit: limit)
            body(block..<end, found.allocation.isAllocated(block) ? .data : .free, 0)
            block = end
        }
    }
}

extension ObjectIndex {
    /// What is at `offset` of the disk, and whom it belongs to.
    ///
    /// Reads the directories for the path.
    public func explain(offset: Int) -> Explanation {
        guard offset >= 0, offset < reader.size else { return Explanation(offset: offset, blockClass: .unknown) }
        var explanation = Explanation(offset: offset, blockClass: .unknown)
        forEachRun(in: ByteRange(offset: offset, length: 1)) { run in
            explanation.blockClass = run.blockClass
            explanation.inode = run.owner
        }
        let layout = scan.layout
        let byte = ByteRange(offset: offset, length: 1)
        let partitions = layout.partitions.filter { $0.range.contains(byte) }
        explanation.partition = (partitions.first { !$0.isContainer } ?? partitions.first)?.index
        explanation.volume = layout.volumes.first { $0.map.volumeOffset(ofDiskOffset: offset) != nil }?.name
        for found in scan.fileSystems {
            guard let place = found.volume.map.volumeOffset(ofDiskOffset: offset) else { continue }
            let geometry = found.geometry
            let block = UInt64(place / geometry.blockSize)
            guard block < geometry.endBlock else { break }
            explanation.fileSystem = geometry.superblock.kind.rawValue
            explanation.block = block
            explanation.blockSize = geometry.blockSize
            explanation.group = geometry.group(ofBlock: block)
            guard let inode = explanation.inode else { break }
            explanation.path = PathFinder(found, reader).path(of: UInt32(truncatingIfNeeded: inode))
            let index = found.dataIndex(of: block)
            if explanation.blockClass == .data, index < found.dataRuns.count, found.dataRuns[index].block <= block {
                let run = found.dataRuns[index]
                let inFile = Int(run.logicalBlock + (block - run.block))
                explanation.fileOffset = inFile * geometry.blockSize + place % geometry.blockSize
            }
            break
        }
        return explanation
    }
}

extension ScannedFileSystem {
    /// The first data run that ends after `block`, or a little before that.
    fileprivate func dataIndex(of block: UInt64) -> Int {
        dataRuns.partitioningIndex { $0.end > block }
    }
}

extension BlockClass {
    /// The class of a structure of the disk.
    init(_ kind: DiskStructure.Kind) {
        switch kind {
        case .partitionTable: self = .partitionTable
        case .lvmMetadata, .lvmSubvolume: self = .lvmMetadata
        }
    }
}
