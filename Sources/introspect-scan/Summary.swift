import BlockStorage
import Console
import DiskImages
import Introspection
import Volumes

/// What `introspect-scan IMAGE` prints; its members are those of the JSON.
struct Summary: Encodable {
    struct PartitionLine: Encodable {
        var number: Int
        var offset: Int
        var length: Int
        var type: String
        var name: String
        var isContainer: Bool
    }

    struct VolumeLine: Encodable {
        var name: String
        var size: Int
        var isComplete: Bool
        var fileSystem: FileSystemStatus?
    }

    struct ClassLine: Encodable {
        var `class`: String
        var bytes: Int
        var share: Double
    }

    struct ScanLine: Encodable {
        var seconds: Double
        var groupSeconds: Double
        var levelSeconds: Double
        var bytesRead: Int
        var reads: Int
        var mapBytes: Int
    }

    var image: String
    var format: ImageFormat
    var size: Int
    var hostFiles: [String]
    var partitionTable: PartitionTableKind
    var sectorSize: Int
    var partitions: [PartitionLine]
    var volumes: [VolumeLine]
    var files: FileCounts
    var classes: [ClassLine]
    var scan: ScanLine
    var problems: [String]

    init(path: String, _ image: DiskImage, _ layout: DiskLayout, _ report: ScanReport) {
        self.image = path
        format = image.format
        size = image.size
        hostFiles = image.files.map(\.path)
        files = report.fileCounts
        partitionTable = layout.partitionTable
        sectorSize = layout.sectorSize
        partitions = layout.partitions.map {
            PartitionLine(
                number: $0.index, offset: $0.range.offset, length: $0.range.length, type: $0.type, name: $0.name,
                isContainer: $0.isContainer)
        }
        volumes = (layout.volumes + layout.degradedVolumes).map { volume in
            VolumeLine(
                name: volume.name, size: volume.size, isComplete: volume.isComplete,
                fileSystem: report.status.fileSystems.first { $0.volume == volume.name })
        }
        classes = report.status.totals.entries.map { entry in
            ClassLine(
                class: entry.blockClass.name, bytes: entry.bytes, share: Double(entry.bytes) / Double(image.size))
        }
        scan = ScanLine(
            seconds: seconds(report.duration), groupSeconds: seconds(report.durations.groups),
            levelSeconds: seconds(report.durations.levels), bytesRead: report.bytesRead, reads: report.readCount,
            mapBytes: report.status.mapMemoryBytes)
        problems = report.problems
        if problems.isEmpty, report.status.fileSystems.isEmpty {
            problems.append(
                "\(path): no file system that is understood; expected ext2, ext3 or ext4 in a volume of the disk")
        }
    }
}

extension Summary {
    /// The summary for people.
    var text: String {
        [head, partitionText, volumeText, classText, scanText].filter { !$0.isEmpty }.joined(separator: "\n\n")
    }

    private var head: String {
        let table = partitionTable == .none ? "none" : "\(partitionTable.rawValue), sectors of \(sectorSize) bytes"
        return """
            \(printable(image)): \(format.rawValue) image, \(size) bytes (\(formatted(bytes: size)))
            Partition table: \(table)
            """
    }

    private var partitionText: String {
        guard !partitions.isEmpty else { return "" }
        let rows = partitions.map { partition in
            [
                "\(partition.number)", "\(partition.offset)", "\(partition.length)",
                formatted(bytes: partition.length), partition.type, partition.name,
            ]
        }
        return "Partitions\n"
            + table([["number", "offset", "bytes", "size", "type", "name"]] + rows, indentation: "  ")
    }

    private var volumeText: String {
        let lines = volumes.map { volume in
            let extent = "  \(printable(volume.name)): \(formatted(bytes: volume.size))"
            guard volume.isComplete else { return extent + ", incomplete: parts of it are not on this disk" }
            guard let found = volume.fileSystem else { return extent + ", nothing that is understood" }
            return """
                \(extent), \(found.kind), \(found.blockCount) blocks of \(found.blockSize) bytes, \
                \(found.inodeCount) inodes, \(found.state)
                    label \(found.label.isEmpty ? "none" : printable(found.label)), UUID \(found.uuid)
                    features: \(found.features.joined(separator: " "))
                """
        }
        return lines.isEmpty ? "" : "Volumes\n" + lines.joined(separator: "\n")
    }

    private var classText: String {
        // Blocks are those of the file systems when they agree on a size.
        let sizes = Set(volumes.compactMap { $0.fileSystem?.blockSize })
        let blockSize = sizes.count == 1 ? sizes.first ?? 4096 : 4096
        func row(_ name: String, _ bytes: Int) -> [String] {
            let blocks = Double(bytes) / Double(blockSize)
            let share = size > 0 ? Double(bytes) / Double(size) * 100 : 0
            return [
                name, decimal(blocks, places: bytes % blockSize == 0 ? 0 : 1), "\(bytes)", formatted(bytes: bytes),
                "\(decimal(share, places: 3))%",
            ]
        }
        let metadata = classes.filter { line in
            BlockClass.allCases.contains { $0.name == line.class && $0.isMetadata }
        }
        let rows =
            [["class", "blocks", "bytes", "size", "share"]] + classes.map { row($0.class, $0.bytes) }
            + [row("all metadata", metadata.reduce(0) { $0 + $1.bytes })]
        return "Classes, in blocks of \(blockSize) bytes\n" + table(rows, indentation: "  ")
    }

    private var scanText: String {
        let share = size > 0 ? Double(scan.mapBytes) / Double(size) * 100 : 0
        return """
            Files: \(files.files) regular, \(files.directories) directories, \(files.symbolicLinks) symbolic links
            Scan: \(decimal(scan.seconds, places: 3)) s (inode tables \(decimal(scan.groupSeconds, places: 3)) s, what \
            they point at \(decimal(scan.levelSeconds, places: 3)) s), \(formatted(bytes: scan.bytesRead)) in \
            \(scan.reads) reads; class map: \(formatted(bytes: scan.mapBytes)) (\(decimal(share, places: 4))% of the image)
            """
    }
}
