import ArgumentParser
import BlockStorage
import Console
import Introspection

/// `introspect-scan export`.
struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Saves maps of images, which introspectd --maps loads at its start instead of scanning.",
        discussion: """
            A map is a file NAME.map in the directory, NAME being that of the image's file. introspectd looks for \
            DIRECTORY/PATH.map, PATH being the image's in its export: with --below EXPORT maps lie so, in directories that \
            are made. Two images whose maps would be one file are refused, and nothing is saved.

            A map holds for the image as it is: introspectd compares size and modification time of the image's files, \
            superblocks and group descriptors, and scans an image whose map is old. Images are best exported while \
            nobody writes to them.
            """)

    @OptionGroup var arguments: ImagesArguments

    @Option(
        name: .long, help: ArgumentHelp("Where the maps go; made when it is missing.", valueName: "directory"),
        completion: .directory)
    var maps: String

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The directory that introspectd serves: a map lies in --maps as its image lies in there.",
            valueName: "export"), completion: .directory)
    var below: String?

    func run() throws {
        let places = try orComplain { () throws(Refusal) in
            for directory in [maps, below].compactMap(\.self) { try HostPaths.check(directory) }
            return try MapPlaces(of: arguments.images, in: maps, below: below)
        }
        do throws(SavedFile.Failure) {
            try SavedFile.makeDirectories(above: "\(maps)/")
        } catch {
            complain(error.description)
            throw ExitStatus.unreadable
        }
        let (results, status) = arguments.forEachImage { (image, bar) throws(Refusal) in
            try Self.export(image, to: places, bar)
        }
        if arguments.json {
            try printJSON(results)
        } else {
            for map in results.compactMap(\.found) {
                try printLine(printable("\(map.image): \(map.map), \(formatted(bytes: map.bytes))"))
            }
        }
        if let status { throw status }
    }

    private struct Line: Encodable {
        var image: String
        var map: String
        var bytes: Int
        var problems: [String]
    }

    private static func export(
        _ path: String, to places: MapPlaces, _ bar: ProgressBar
    ) throws(Refusal) -> (Line, hasProblems: Bool) {
        let open = try OpenImage(path)
        let before = open.image.files.map { SavedMap.FileStamp(location: $0.location) }
        defer { bar.clear() }
        let result: (map: SavedMap, problems: [String])?
        do throws(StorageError) {
            result = try DiskIntrospector.savedMap(
                of: open.reader, name: path, files: before.compactMap(\.self)
            ) { progress in
                bar.show(progress, of: path)
                return !Interruption.isRequested
            }
        } catch {
            throw Refusal("\(error)")
        }
        guard let result else { throw .interrupted }
        guard before == open.image.files.map({ SavedMap.FileStamp(location: $0.location) }) else {
            throw Refusal("\(path): was changed while it was read; no map is saved")
        }
        let map = try places.place(of: open.image)
        do throws(SavedFile.Failure) {
            try SavedFile.makeDirectories(above: map)
            try SavedFile.save(result.map.encoded, to: map)
        } catch {
            throw Refusal(error.description)
        }
        let line = Line(image: path, map: map, bytes: result.map.encoded.count, problems: result.problems)
        return (line, complain(about: result.problems))
    }
}
