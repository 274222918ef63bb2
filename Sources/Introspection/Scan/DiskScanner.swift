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
        let device = LayoutDevice(name: name, reader: reader)
        var scan = DiskScan(layout: try DiskLayout.read(from: device))
        scan.problems = scan.layout.problems.map { "\(name): \($0)" }
        let workers = ScanWorkers(count: options.parallelism)
        defer { workers.shutDown() }
        for (number, volume) in scan.layout.volumes.enumerated() where !scan.wasCancelled {
            guard let superblock = superblock(of: volume, &scan.problems) else { continue }
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
                let found = ExtScan(
                    environment, superblock: superblock, collectsData: collectsData, visitDirectory: visitor
                ).run()
                scan.problems += found.problems.map { "\(name): \($0)" }
                scan.fileSystems.append(found)
            }
            scan.wasCancelled = wasCancelled
        }
        scan.bytesRead = meter.bytesRead
        scan.readCount = meter.readCount
        return scan
    }

    /// The superblock of the ext file system on `volume`; nil when there is none that can be scanned, with a problem
    /// when there should be one.
    private func superblock(of volume: Volume, _ problems: inout [String]) -> ExtSuperblock? {
        let place = "\(name): \(volume.name): offset \(ExtSuperblock.offset)"
        let range = ByteRange(offset: ExtSuperblock.offset, length: ExtSuperblock.size)
        guard volume.size >= range.end else { return nil }
        let buffer = AlignedBuffer(count: range.length)
        do throws(StorageError) {
            try VolumeReader(volume: volume, disk: reader).read(range, as: .superblock, into: buffer.bytes)
        } catch {
            problems.append("\(place): the superblock cannot be read: \(error)")
            return nil
        }
        let bytes = UnsafeRawBufferPointer(buffer.bytes).bytes
        guard ExtSuperblock.isPresent(in: bytes) else { return nil }
        do throws(ExtFormatError) {
            let superblock = try ExtSuperblock(parsing: bytes)
            guard superblock.unsupportedFeatures.isEmpty else {
                let names = superblock.unsupportedFeatures.joined(separator: ", ")
                problems.append("\(place): \(superblock.kind) with features that are not supported: \(names)")
                return nil
            }
            try superblock.check(deviceSize: volume.size)
            guard superblock.groupCount <= options.groupLimit, superblock.blockCount <= options.blockLimit else {
                problems.append(
                    """
                    \(place): \(superblock.blockCount) blocks in \(superblock.groupCount) groups, at most \
                    \(options.blockLimit) in \(options.groupLimit) are supported
                    """)
                return nil
            }
            if !superblock.hasValidChecksum(bytes) {
                problems.append("\(place): the checksum of the superblock is wrong")
            }
            return superblock
        } catch {
            problems.append("\(place): \(error)")
            return nil
        }
    }
}
