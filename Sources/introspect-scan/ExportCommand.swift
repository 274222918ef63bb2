import ArgumentParser
import BlockStorage
import Console
import Glibc
import Introspection

/// `introspect-scan export`.
struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Saves maps of images, which introspectd --maps loads at its start instead of scanning.",
        discussion: """
            A map is a file NAME.map in the directory, NAME being that of the image's file; for an image in a directory \
            of the export, give the directory of that name: introspectd looks for DIRECTORY/PATH.map, PATH being the \
            image's in the export.

            A map holds for the image as it is: introspectd compares size and modification time of the image's files, \
            superblocks and group descriptors, and scans an image whose map is old. Images are best exported while \
            nobody writes to them.
            """)

    @OptionGroup var arguments: ImagesArguments

    @Option(
        name: .long, help: ArgumentHelp("Where the maps go; made when it is missing.", valueName: "directory"),
        completion: .directory)
    var maps: String

    func run() throws {
        guard mkdir(maps, 0o777) == 0 || errno == EEXIST else {
            complain("\(maps): \(String(cString: strerror(errno)))")
            throw ExitStatus.unreadable
        }
        let maps = maps
        let (saved, status) = arguments.forEachImage { (image, bar) throws(ExitCode) in
            try Self.export(image, to: maps, bar)
        }
        if arguments.json {
            try printJSON(saved)
        } else {
            for map in saved { try printLine(printable("\(map.image): \(map.map), \(formatted(bytes: map.bytes))")) }
        }
        if let status { throw status }
    }

    private struct Line: Encodable {
        var image: String
        var map: String
        var bytes: Int
    }

    private static func export(
        _ path: String, to maps: String, _ bar: ProgressBar
    ) throws(ExitCode) -> (Line, hasProblems: Bool) {
        let open = try OpenImage(path)
        let before = open.image.files.map { SavedMap.FileStamp(path: $0.path) }
        defer { bar.clear() }
        let result: (map: SavedMap, problems: [String])?
        do throws(StorageError) {
            result = try DiskIntrospector.savedMap(
                of: DeviceReader(open.disk), name: path, files: before.compactMap(\.self)
            ) { progress in
                bar.show(progress, of: path)
                return !Interruption.isRequested
            }
        } catch {
            bar.clear()
            complain("\(error)")
            throw ExitStatus.unreadable
        }
        guard let result else { throw ExitStatus.interrupted }
        guard before == open.image.files.map({ SavedMap.FileStamp(path: $0.path) }) else {
            complain("\(path): was changed while it was read; no map is saved")
            throw ExitStatus.unreadable
        }
        let name = open.image.path.split(separator: "/").last.map(String.init) ?? "image"
        let line = Line(image: path, map: "\(maps)/\(name).map", bytes: result.map.encoded.count)
        try save(result.map.encoded, to: line.map)
        return (line, complain(about: result.problems))
    }
}
