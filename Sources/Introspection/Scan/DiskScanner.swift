import BlockStorage
import GuestFilesystems
import Volumes

/// What a scan found on a disk.
struct DiskScan: Sendable {
    /// How the disk is divided.
    var layout: DiskLayout
    /// The file systems that are understood, in the order of the layout's volumes.
    var fileSystems: [ScannedFileSystem] = []
    /// The most runs of metadata that they may come to have together.
    var runLimit = 0
    /// Bytes read.
    var bytesRead = 0
    /// Reads made.
    var readCount = 0
    /// Whether it was ended early: then it is not complete.
    var wasCancelled = false
    /// What is wrong on the disk, a readable line each.
    var problems: [String] = []
    /// The indexes of the layout's volumes that some of them are about.
    var volumesWithProblems: Set<Int> = []

    /// Whether there was more on the disk than a scan takes on.
    var isPartial: Bool { fileSystems.contains(where: \.isPartial) }

    /// Notes that the problems from index `first` on, if there are any, are about `volume`.
    mutating func noteProblems(from first: Int, ofVolume volume: Int) {
        if problems.count > first { volumesWithProblems.insert(volume) }
    }

    /// Leaves `limit` of the problems, and how many more there are.
    mutating func sumUpProblems(_ limit: Int) {
        guard problems.count > limit else { return }
        problems = problems.prefix(limit) + ["\(problems.count - limit) more problems are not listed"]
    }
}

/// Reads what is to be known of a virtual disk: partitions, volumes, and all metadata of their file systems.
struct DiskScanner {
    /// Reads the disk.
    let reader: any ClassifiedReader
    /// The disk's name in reports.
    let name: String
    /// How to read.
    var options = ScanOptions()
    /// Whether the contents of plain files are wanted, with their owners.
    var collectsData = false
    /// Called with the bytes of each block of a directory and its volume's number, on any of the scan's threads.
    var visitDirectory: (@Sendable (_ volume: Int, _ inode: UInt32, _ bytes: RawSpan) -> Void)?

    /// Scans. `goOn` is called between reads, on the calling thread; when it returns false the scan ends early.
    ///
    /// Throws only when partition tables cannot be read; what is wrong further on becomes problems.
    func scan(_ goOn: (ScanProgress) -> Bool = { _ in true }) throws(StorageError) -> DiskScan {
        let meter = ScanMeter(readLimit: options.readLimit)
        var left = options
        var scan = DiskScan(layout: try DiskLayout.read(through: reader, name: name))
        scan.problems = scan.layout.problems.map { "\(name): \($0)" }
        readStructures(of: scan.layout, meter)
        let workers = ScanWorkers(count: options.parallelism)
        defer { workers.shutDown() }
        if scan.layout.volumes.count > options.volumeLimit {
            scan.problems.append(
                "\(name): \(scan.layout.volumes.count) volumes, the first \(options.volumeLimit) are looked into")
        }
        for (number, volume) in scan.layout.volumes.prefix(options.volumeLimit).enumerated() where !scan.wasCancelled {
            let problemCount = scan.problems.count
            defer { scan.noteProblems(from: problemCount, ofVolume: number) }
            let probe = SuperblockProbe(
                reader: VolumeReader(volume: volume, disk: reader), name: name, options: left)
            guard let superblock = probe.superblock(&scan.problems) else { continue }
            var visitor: ExtScan.DirectoryVisitor?
            if let visitDirectory { visitor = { visitDirectory(number, $0, $1) } }
            var wasCancelled = false
            withoutActuallyEscaping(goOn) { goOn in
                let environment = ExtScan.Environment(
                    reader: VolumeReader(volume: volume, disk: reader), workers: workers, meter: meter,
                    options: left,
                    goOn: {
                        wasCancelled = wasCancelled || !goOn(meter.progress)
                        return !wasCancelled
                    })
                var found = ExtScan(
                    environment, superblock: superblock, collectsData: collectsData, visitDirectory: visitor
                ).run()
                found.journal = JournalProbe(
                    geometry: found.geometry, descriptors: found.descriptors, environment: environment
                ).journal(&found.problems)
                scan.problems += found.problems.map { "\(name): \($0)" }
                left.take(found)
                scan.runLimit = max(scan.runLimit, left.runLimit(blockCount: found.geometry.superblock.blockCount))
                scan.fileSystems.append(found)
            }
            scan.wasCancelled = wasCancelled
        }
        scan.bytesRead = meter.bytesRead
        scan.readCount = meter.readCount
        scan.sumUpProblems(2 * options.problemLimit)
        return scan
    }

    /// Bytes of tables and metadata that are read as a whole, for the cache.
    private static let structureLimit = 64 << 20

    /// Reads partition tables and LVM2 metadata as a whole, as guests do when they look for volumes: the cache has them
    /// then. What was needed to understand them has been read already, so an error here changes nothing.
    private func readStructures(of layout: DiskLayout, _ meter: ScanMeter) {
        for structure in layout.structures
        where structure.range.length <= options.requestLimit && meter.bytesRead < Self.structureLimit {
            let blockClass = BlockClass(structure.kind)
            var bytes = [UInt8](repeating: 0, count: structure.range.length)
            bytes.withUnsafeMutableBytes { try? reader.read(structure.range, as: blockClass, into: $0) }
            meter.countRead(bytes: structure.range.length)
        }
    }
}
