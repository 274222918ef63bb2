import BlockStorage
import GuestFilesystems
import Volumes

extension SavedMap {
    /// What `scan` found on the disk that `reader` reads, which is in `files`.
    init(_ scan: DiskScan, _ reader: some ClassifiedReader, files: [FileStamp]) throws(StorageError) {
        diskSize = reader.size
        self.files = files
        var fileSystems: [FileSystem] = []
        for found in scan.fileSystems {
            let volume = VolumeReader(volume: found.volume, disk: reader)
            fileSystems.append(
                FileSystem(
                    volume: found.volume.name, structureChecksum: try found.descriptors.checksum(after: volume),
                    counts: found.counts, allocation: found.allocation, runs: found.runs, roots: found.roots))
        }
        self.fileSystems = fileSystems
    }
}

extension DiskScanner {
    /// What a scan would find, going by `map`, whose numbers nobody has checked.
    ///
    /// Throws when superblocks or group descriptors are not those that the map was made with, when the map makes no
    /// sense, or when the disk cannot be read.
    func restore(_ map: SavedMap) throws(SavedMapError) -> DiskScan {
        guard map.diskSize == reader.size else {
            throw SavedMapError("it is of a disk of \(map.diskSize) bytes, this one has \(reader.size)")
        }
        let meter = ScanMeter()
        var left = options
        var scan = DiskScan(
            layout: try asMapError { () throws(StorageError) in
                try DiskLayout.read(through: reader, name: name)
            })
        scan.problems = scan.layout.problems.map { "\(name): \($0)" }
        var saved = map.fileSystems[...]
        for (number, volume) in scan.layout.volumes.prefix(options.volumeLimit).enumerated() {
            let problemCount = scan.problems.count
            defer { scan.noteProblems(from: problemCount, ofVolume: number) }
            let reader = VolumeReader(volume: volume, disk: reader)
            let probe = SuperblockProbe(reader: reader, name: name, options: left)
            guard let superblock = probe.superblock(&scan.problems) else { continue }
            guard let next = saved.popFirst(), next.volume == volume.name else {
                throw SavedMapError("it knows nothing of the file system on \(volume.name)")
            }
            let environment = ExtScan.Environment(
                reader: reader, workers: ScanWorkers(count: 1), meter: meter, options: left, goOn: { true })
            let found = try ExtScan(environment, superblock: superblock).restore(next)
            left.take(found)
            scan.runLimit = max(scan.runLimit, left.runLimit(blockCount: superblock.blockCount))
            scan.problems += found.problems.map { "\(name): \($0)" }
            scan.fileSystems.append(found)
        }
        guard saved.isEmpty else { throw SavedMapError("it knows of more file systems than there are") }
        scan.bytesRead = meter.bytesRead
        scan.readCount = meter.readCount
        return scan
    }
}

extension ExtScan {
    /// What a scan would find of the file system, going by `saved`.
    fileprivate func restore(_ saved: SavedMap.FileSystem) throws(SavedMapError) -> ScannedFileSystem {
        let superblock = geometry.superblock
        result.descriptors = readDescriptors()
        let (descriptors, reader) = (result.descriptors, environment.reader)
        let checksum = try asMapError { () throws(StorageError) in try descriptors.checksum(after: reader) }
        guard checksum == saved.structureChecksum, saved.allocation.blockCount == superblock.blockCount else {
            throw SavedMapError("\(saved.volume) was written since it was made")
        }
        try check(saved)
        // A map of an earlier version has a bit for every block.
        let blocksPerBit = superblock.blocksPerCluster
        result.allocation =
            saved.allocation.blocksPerBit == blocksPerBit
            ? saved.allocation : saved.allocation.regrouped(blocksPerBit: blocksPerBit)
        result.runs = saved.runs
        result.roots = saved.roots
        result.counts = saved.counts
        result.journal = JournalProbe(geometry: geometry, descriptors: descriptors, environment: environment)
            .journal(&result.problems)
        return result
    }

    /// See ``MetadataRun/level``.
    private static var deepestLevel: UInt8 { 6 }

    /// Throws unless the runs are such as a scan finds: the class map relies on it.
    private func check(_ saved: SavedMap.FileSystem) throws(SavedMapError) {
        let limit = environment.options.runLimit(blockCount: geometry.superblock.blockCount)
        var end: UInt64 = 0
        for run in saved.runs {
            guard run.block >= end else { throw SavedMapError("its runs overlap at block \(run.block)") }
            try check(run)
            end = run.end
        }
        guard saved.runs.count <= limit, saved.roots.count <= limit else {
            throw SavedMapError("it has more than \(limit) runs")
        }
        var last = (owner: UInt32(0), block: UInt64(0))
        for run in saved.roots {
            guard (run.owner, run.block) >= last else { throw SavedMapError("its roots are not sorted") }
            try check(run)
            last = (run.owner, run.block)
        }
    }

    private func check(_ run: MetadataRun) throws(SavedMapError) {
        guard run.block < geometry.endBlock, UInt64(run.count) <= geometry.endBlock - run.block,
            (1...geometry.superblock.inodeCount).contains(run.owner), run.blockClass.isMetadata,
            run.level <= Self.deepestLevel
        else {
            throw SavedMapError(
                "a run of \(run.count) blocks from \(run.block) of inode \(run.owner) does not fit the file system")
        }
    }
}

extension [ExtGroupDescriptor] {
    /// The checksum of the superblock that `volume` holds and of these descriptors: what changes when a guest mounts,
    /// unmounts or changes the file system.
    fileprivate func checksum(after volume: VolumeReader) throws(StorageError) -> UInt32 {
        let superblock = AlignedBuffer(count: ExtSuperblock.size)
        try volume.read(
            ByteRange(offset: ExtSuperblock.offset, length: superblock.count), as: .superblock, into: superblock.bytes)
        var bytes = [UInt8](superblock.bytes)
        bytes.reserveCapacity(bytes.count + 44 * count)
        for descriptor in self {
            let numbers = [
                descriptor.blockBitmap, descriptor.inodeBitmap, descriptor.inodeTable,
                UInt64(descriptor.freeBlockCount) << 32 | UInt64(descriptor.freeInodeCount),
                UInt64(descriptor.directoryCount) << 32 | UInt64(descriptor.unusedInodeCount),
                UInt64(descriptor.flags.rawValue) << 16 | UInt64(descriptor.checksum),
            ]
            for number in numbers { Swift.withUnsafeBytes(of: number.littleEndian) { bytes += $0 } }
        }
        return bytes.withUnsafeBytes(CRC32C.checksum)
    }
}

private func asMapError<Result>(_ body: () throws(StorageError) -> Result) throws(SavedMapError) -> Result {
    do throws(StorageError) {
        return try body()
    } catch {
        throw SavedMapError("\(error)")
    }
}
