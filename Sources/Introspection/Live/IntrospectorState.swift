import BlockStorage
import GuestFilesystems
import Volumes

/// What a ``DiskIntrospector`` guards with its lock.
struct IntrospectorState: Sendable {
    /// Counts the maps that were installed, so that a digest notices when its map is no longer in service.
    var generation = 0
    /// Nil before the first scan.
    var index: DiskIndex?
    var fileSystems: [LiveFileSystem] = []
    /// For each volume, the index of its file system.
    var fileSystemOfVolume: [Int?] = []
    /// Whether the scan found anything that it knows.
    var isRecognised = false
    /// Why a rescan is due; nil when none is.
    var staleReason: String?
    /// Whether something was written that the problems of the scan may be about: what it found half-way may be whole by now.
    private(set) var needsReview = false
    /// What was written since the running scan began; nil when none runs.
    var writtenDuringScan: WriteGranules?

    /// The most runs of metadata that the maps may come to have together; see ``ScanOptions/runLimit``.
    var runLimit = 0

    private var diskSize = 0
    /// Whether the scan found something wrong with how the disk is divided.
    private var hasLayoutProblems = false
    /// The volumes that it found something wrong with.
    private var volumesWithProblems: Set<Int> = []

    /// Bytes at the start of a disk with nothing on it that we know, where something may appear.
    private static let labelArea = ByteRange(offset: 0, length: 1 << 20)

    /// Bytes at the end of a disk where the copy of a GUID partition table lies: a header and 16 KiB of entries, in sectors
    /// of up to 4 KiB.
    private static let tableCopyArea = 20 << 10

    var memoryBytes: Int {
        (index?.memoryBytes ?? 0) + fileSystems.reduce(0) { $0 + $1.memoryBytes }
    }

    /// The state that `scan` of a disk of `diskSize` bytes describes.
    init(_ scan: DiskScan, diskSize: Int, generation: Int) {
        self.diskSize = diskSize
        runLimit = scan.runLimit
        hasLayoutProblems = !scan.layout.problems.isEmpty
        volumesWithProblems = scan.volumesWithProblems
        let index = DiskIndex(scan.layout)
        self.generation = generation
        self.index = index
        fileSystemOfVolume = Array(repeating: nil, count: index.volumes.count)
        for scanned in scan.fileSystems {
            guard let volume = index.volumes.firstIndex(of: scanned.volume) else { continue }
            fileSystemOfVolume[volume] = fileSystems.count
            fileSystems.append(
                LiveFileSystem(
                    scanned, volume: volume, hasProblems: scan.volumesWithProblems.contains(volume)))
        }
        isRecognised = !fileSystems.isEmpty || !scan.layout.structures.isEmpty
    }

    /// Nothing is known.
    init() {}

    mutating func markStale(_ reason: @autoclosure () -> String) {
        if staleReason == nil { staleReason = reason() }
    }

    // MARK: Reading

    /// Appends the classes of `range` to `collector`; until there is no more room.
    ///
    /// - Parameter bytes: What is about to be written to the range, if anything.
    func collect(
        _ range: ByteRange, writing bytes: UnsafeRawBufferPointer? = nil, into collector: inout RunCollector
    ) throws(RunCollector.Full) {
        guard let index else { return try collector.append(range, .unknown) }
        try index.forEachPart(of: range) { (part, content) throws(RunCollector.Full) in
            switch content {
            case .structure(let kind): try collector.append(part, BlockClass(kind))
            case .nothing: try collector.append(part, .unknown)
            case .volume(let volume, let shift):
                guard let number = fileSystemOfVolume[volume] else { return try collector.append(part, .unknown) }
                try index.forEachVolumeRange(of: part, volume: volume, shift: shift) {
                    (volumeRange, diskOffset) throws(RunCollector.Full) in
                    let slice = bytes.map { bytes in
                        let start = diskOffset - range.offset
                        return UnsafeRawBufferPointer(rebasing: bytes[start..<start + volumeRange.length])
                    }
                    try fileSystems[number].collect(
                        volumeRange, writing: slice, diskOffset: diskOffset, into: &collector)
                }
            }
        }
    }

    // MARK: Writing

    /// Takes note of a write of `bytes` to `range`, which is on the disk. Returns whether there is something to digest for
    /// it.
    mutating func record(_ range: ByteRange, bytes: UnsafeRawBufferPointer) -> Bool {
        guard let index else { return false }
        noteLabels(range)
        var needsDigest = false
        index.forEachPart(of: range) { part, content in
            guard case .volume(let volume, let shift) = content else { return noteOutsideVolumes(part, content) }
            let number = fileSystemOfVolume[volume]
            index.forEachVolumeRange(of: part, volume: volume, shift: shift) { volumeRange, diskOffset in
                let start = diskOffset - range.offset
                let slice = UnsafeRawBufferPointer(rebasing: bytes[start..<start + volumeRange.length])
                if let number {
                    needsDigest = fileSystems[number].record(volumeRange, bytes: slice) || needsDigest
                    noteState(of: number)
                } else {
                    noteUnknown(volume, volumeRange)
                    recordUnknown(slice, at: volumeRange.offset, of: index.volumes[volume])
                }
            }
        }
        return needsDigest
    }

    /// Takes note that any bytes of `range`, which is on the disk, may have been written while a scan read it.
    ///
    /// - Parameter room: parts of disk and maps that may be looked at: an image may say that it has any number.
    mutating func recordMissed(
        _ range: ByteRange, _ room: inout RecordingRoom
    ) throws(RecordingRoom.Exhausted) {
        guard let index else { return }
        noteLabels(range)
        try index.forEachPart(of: range) { (part, content) throws(RecordingRoom.Exhausted) in
            try room.take()
            guard case .volume(let volume, let shift) = content else { return noteOutsideVolumes(part, content) }
            let number = fileSystemOfVolume[volume]
            try index.forEachCover(of: part, volume: volume, shift: shift) {
                (range) throws(RecordingRoom.Exhausted) in
                guard let number else { return noteUnknown(volume, range) }
                try fileSystems[number].recordMissed(range, &room)
                noteState(of: number)
            }
        }
    }

    private mutating func noteLabels(_ range: ByteRange) {
        if !isRecognised, range.overlaps(Self.labelArea) {
            markStale("the start of a disk was written that held nothing known")
        }
    }

    private mutating func noteOutsideVolumes(_ part: ByteRange, _ content: DiskIndex.Content) {
        switch content {
        case .nothing:
            // Boot records and tables that the scan did not find where they should be.
            if hasLayoutProblems { needsReview = true }
            // A table is written in several pieces, and the scan after the first may not know of the copy yet.
            if part.end > diskSize - Self.tableCopyArea { markStale("the end of the disk was written") }
        case .structure(.lvmSubvolume), .volume:
            break
        case .structure(let kind):
            markStale("\(kind == .partitionTable ? "a partition table" : "LVM metadata") was written")
        }
    }

    /// Takes note of a write to `range` of a volume without a known file system: it may have been half a one, or the place
    /// of a table that the scan took for none.
    private mutating func noteUnknown(_ volume: Int, _ range: ByteRange) {
        guard !needsReview, hasLayoutProblems || volumesWithProblems.contains(volume) else { return }
        needsReview = SuperblockProbe.goesBy(range)
    }

    private mutating func noteState(of number: Int) {
        if fileSystems[number].needsReview { needsReview = true }
        guard fileSystems[number].hasLostWrites, staleReason == nil else { return }
        let volume = index?.volumes[fileSystems[number].volume].name ?? ""
        markStale("\(volume): more was written than can be noted")
    }

    /// Looks whether a write to a volume without a known file system makes one.
    private mutating func recordUnknown(_ bytes: UnsafeRawBufferPointer, at offset: Int, of volume: Volume) {
        let magic = ExtSuperblock.offset + 56
        if offset <= magic, offset + bytes.count >= magic + 2 {
            let found = UInt16(bytes[magic - offset]) | UInt16(bytes[magic - offset + 1]) << 8
            if found == ExtSuperblock.magic { markStale("\(volume.name): a file system was made") }
        }
        for sector in 0..<4 where offset <= sector * 512 && offset + bytes.count >= sector * 512 + 8 {
            let label = bytes[sector * 512 - offset..<sector * 512 - offset + 8]
            if label.elementsEqual("LABELONE".utf8) { markStale("\(volume.name): an LVM label was written") }
        }
    }
}

extension LiveFileSystem {
    /// Appends the classes of `range` of the volume, which begins at `diskOffset` of the disk, to `collector`.
    func collect(
        _ range: ByteRange, writing bytes: UnsafeRawBufferPointer?, diskOffset: Int, into collector: inout RunCollector
    ) throws(RunCollector.Full) {
        let shift = diskOffset - range.offset
        let contents = isJournalFollowed ? nil : bytes
        let blocks = blocks(of: range)
        var block = blocks.lowerBound
        var offset = range.offset
        while block < blocks.upperBound {
            var piece = map.piece(at: block, limit: min(blocks.upperBound, block + FileSystemMap.longestStep))
            if let contents, piece.isUnclaimed {
                piece.end = block + 1
                let start = Int(block) * map.blockSize - range.offset
                if start >= 0, start + map.blockSize <= range.length {
                    let slice = UnsafeRawBufferPointer(rebasing: contents[start..<start + map.blockSize])
                    piece.blockClass = recognise(slice.bytes) ?? piece.blockClass
                }
            }
            let end = min(Int(piece.end) * map.blockSize, range.end)
            try collector.append(ByteRange(offset: offset + shift, length: end - offset), piece.blockClass)
            block = piece.end
            offset = end
        }
        if offset < range.end {
            try collector.append(ByteRange(offset: offset + shift, length: range.end - offset), .unknown)
        }
    }
}
