import BlockStorage
import GuestFilesystems
import Volumes

/// What a scan found on a disk.
struct DiskScan: Sendable {
    /// How the disk is divided.
    var layout: DiskLayout
    /// The file systems that are understood, in the order of the layout's volumes.
    var fileSystems: [ScannedFileSystem] = []
    /// Bytes read.
    var bytesRead = 0
    /// Reads made.
    var readCount = 0
    /// Whether it was ended early: then it is not complete.
    var wasCancelled = false
    /// What is wrong on the disk, a readable line each.
    var problems: [String] = []
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
        let meter = ScanMeter()
        var scan = DiskScan(layout: try DiskLayout.read(through: reader, name: name))
        scan.problems = scan.layout.problems.map { "\(name): \($0)" }
        readStructures(of: scan.layout, meter)
        let workers = ScanWorkers(count: options.parallelism)
        defer { workers.shutDown() }
        for (number, volume) in scan.layout.volumes.enumerated() where !scan.wasCancelled {
            let probe = SuperblockProbe(
                reader: VolumeReader(volume: volume, disk: reader), name: name, options: options)
            guard let superblock = probe.superblock(&scan.problems) else { continue }
            var visitor: ExtScan.DirectoryVisitor?
            if let visitDirectory { visitor = { visitDirectory(number, $0, $1) } }
            var wasCancelled = false
            withoutActuallyEscaping(goOn) { goOn in
                let environment = ExtScan.Environment(
                    reader: VolumeReader(volume: volume, disk: reader), workers: workers, meter: meter,
                    options: options,
                    goOn: {
                        wasCancelled = wasCancelled || !goOn(meter.progress)
                        return !wasCancelled
                    })
                var found = ExtScan(
                    environment, superblock: superblock, collectsData: collectsData, visitDirectory: visitor
                ).run()
                found.journal = JournalProbe(
                    geometry: found.geometry, descriptors: found.descriptors, reader: environment.reader
                ).journal(&found.problems)
                scan.problems += found.problems.map { "\(name): \($0)" }
                scan.fileSystems.append(found)
            }
            scan.wasCancelled = wasCancelled
        }
        scan.bytesRead = meter.bytesRead
        scan.readCount = meter.readCount
        return scan
    }

    /// Reads partition tables and LVM2 metadata as a whole, as guests do when they look for volumes: the cache has them
    /// then. What was needed to understand them has been read already, so an error here changes nothing.
    private func readStructures(of layout: DiskLayout, _ meter: ScanMeter) {
        for structure in layout.structures where structure.range.length <= options.requestLimit {
            let blockClass = BlockClass(structure.kind)
            var bytes = [UInt8](repeating: 0, count: structure.range.length)
            bytes.withUnsafeMutableBytes { try? reader.read(structure.range, as: blockClass, into: $0) }
            meter.countRead(bytes: structure.range.length)
        }
    }
}
