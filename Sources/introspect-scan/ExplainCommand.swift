import ArgumentParser
import BlockStorage
import Console
import Introspection

/// `introspect-scan explain`.
struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Says what is at an offset of the disk, or where on the disk a file is.",
        discussion: """
            With --offset: partition, volume, file system, class, inode and path of that byte. With --path or --inode: \
            every place on the disk that belongs to the file: its inode, its indirect blocks or extent nodes, and its \
            contents.
            """)

    @OptionGroup var arguments: ImageArguments

    @Option(name: .long, help: "Bytes from the start of the virtual disk: 4096, 0x1000, 4K, 1M, 2G …")
    var offset: ByteSize?

    @Option(name: .long, help: "A path in the guest's file system, as ls shows it.")
    var path: String?

    @Option(name: .long, help: "The number of an inode of the guest's file system.")
    var inode: UInt32?

    @OptionGroup var choice: VolumeChoice

    func validate() throws {
        guard [offset != nil, path != nil, inode != nil].count(where: { $0 }) == 1 else {
            throw ValidationError("explain takes one of --offset, --path and --inode")
        }
        guard offset == nil || choice.volume == nil else {
            throw ValidationError("--volume goes with --path and --inode: an offset is one of the disk")
        }
    }

    func run() throws {
        if let offset { return try explain(offset) }
        try withGuestFileSystem(arguments.image, arguments.disk, choice) { fileSystem in
            let file = try path.map { try fileSystem.file(atTyped: $0) } ?? fileSystem.file(inode: inode ?? 0)
            let places = FilePlaces(fileSystem, file, try fileSystem.places(of: file))
            if arguments.json { try printJSON(places) } else { try printLine(places.text) }
        }
    }

    private func explain(_ offset: ByteSize) throws {
        let (index, size) = try makeIndex(
            arguments.image, with: arguments.disk.images, sectorSize: arguments.disk.sectors.bytes,
            noProgress: arguments.noProgress)
        guard offset.bytes < size else {
            complain("\(arguments.image): offset \(offset.bytes) is not on the disk, which has \(size) bytes")
            throw ExitStatus.unreadable
        }
        let explanation = index.explain(offset: offset.bytes)
        if arguments.json {
            try printJSON(ExplanationLine(explanation))
        } else {
            try printLine(Self.text(explanation))
        }
        if complain(about: index.problems) { throw ExitStatus.problems }
    }

    private static func text(_ explanation: Explanation) -> String {
        var rows = [
            ("offset", "\(explanation.offset) (0x\(String(explanation.offset, radix: 16)))"),
            ("class", explanation.blockClass.name),
        ]
        if let partition = explanation.partition { rows.append(("partition", "\(partition)")) }
        if let volume = explanation.volume { rows.append(("volume", printable(volume))) }
        if let fileSystem = explanation.fileSystem { rows.append(("file system", fileSystem)) }
        if let block = explanation.block, let blockSize = explanation.blockSize {
            rows.append(("block", "\(block) of \(blockSize) bytes"))
        }
        if let group = explanation.group { rows.append(("group", "\(group)")) }
        if let inode = explanation.inode { rows.append(("inode", "\(inode)")) }
        if let path = explanation.path { rows.append(("path", "\(path)")) }
        if let fileOffset = explanation.fileOffset { rows.append(("in the file", "at byte \(fileOffset)")) }
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { $0 + String(repeating: " ", count: width - $0.count + 2) + $1 }.joined(separator: "\n")
    }
}

/// An explanation as JSON, with the class by name.
private struct ExplanationLine: Encodable {
    var offset: Int
    var `class`: String
    var partition: Int?
    var volume: String?
    var fileSystem: String?
    var block: UInt64?
    var blockSize: Int?
    var group: Int?
    var inode: UInt64?
    var path: String?
    var pathBytes: String?
    var fileOffset: Int?

    init(_ explanation: Explanation) {
        offset = explanation.offset
        `class` = explanation.blockClass.name
        partition = explanation.partition
        volume = explanation.volume
        fileSystem = explanation.fileSystem
        block = explanation.block
        blockSize = explanation.blockSize
        group = explanation.group
        inode = explanation.inode
        path = explanation.path?.json
        pathBytes = explanation.path?.jsonBytes
        fileOffset = explanation.fileOffset
    }
}

/// Where a file is.
private struct FilePlaces: Encodable {
    struct Place: Encodable {
        var `class`: String
        var offset: Int
        var length: Int
        var fileOffset: Int?
    }

    var volume: String
    var inode: UInt32
    var type: String
    var size: UInt64
    var places: [Place]

    init(_ fileSystem: GuestFileSystem, _ file: GuestFile, _ places: [GuestFilePlace]) {
        volume = fileSystem.volume.name
        inode = file.number
        type = file.kind.name
        size = file.size
        self.places = places.map {
            Place(
                class: $0.blockClass.name, offset: $0.range.offset, length: $0.range.length, fileOffset: $0.fileOffset)
        }
    }

    var text: String {
        let rows = places.map { place in
            [place.class, "\(place.offset)", "\(place.length)", place.fileOffset.map { "\($0)" } ?? "-"]
        }
        return """
            volume  \(printable(volume))
            inode   \(inode)
            type    \(type)
            size    \(size)

            \(table([["class", "offset", "bytes", "in the file at"]] + rows))
            """
    }
}
