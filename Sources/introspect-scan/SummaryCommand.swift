import ArgumentParser
import BlockStorage
import DiskImages
import Introspection
import Volumes

/// `introspect-scan IMAGE…`.
struct SummaryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "summary",
        abstract: "Prints how disks are divided, their file systems and how much of them is of which class (default).")

    @OptionGroup var arguments: ImagesArguments

    @OptionGroup var disk: DiskArguments

    @Option(name: .long, help: "Reads at a time, of each image.")
    var parallelism = 16

    func validate() throws {
        guard disk.images.isEmpty || arguments.images.count == 1 else {
            throw ValidationError("--with takes one image before it")
        }
        guard (1...64).contains(parallelism) else { throw ValidationError("--parallelism takes 1 to 64") }
    }

    func run() throws {
        let (parallelism, disk) = (parallelism, disk)
        let (results, status) = arguments.forEachImage { (image, bar) throws(Refusal) in
            let summary = try Self.summary(of: image, disk, parallelism, bar)
            return (summary, complain(about: summary.problems))
        }
        let texts = results.compactMap(\.found?.text)
        if arguments.json, results.count > 1 {
            try printJSON(results)
        } else if arguments.json, let result = results.first {
            try printJSON(result)
        } else if !texts.isEmpty {
            try printLine(texts.joined(separator: "\n\n"))
        }
        if let status { throw status }
    }

    private static func summary(
        of path: String, _ arguments: DiskArguments, _ parallelism: Int, _ bar: ProgressBar
    ) throws(Refusal) -> Summary {
        let open = try OpenImage(path, arguments)
        let layout: DiskLayout
        do throws(StorageError) {
            layout = try DiskLayout.read(from: open.disk, members: open.image.members, sectorSize: open.sectorSize)
        } catch {
            throw Refusal("\(error)")
        }
        let (_, report) = try scan(open, path, parallelism: parallelism, bar)
        return Summary(path: path, open.image, layout, report)
    }
}

/// Scans the disk for the commands that tell of classes.
func scan(
    _ open: OpenImage, _ path: String, parallelism: Int, _ bar: ProgressBar
) throws(Refusal) -> (DiskIntrospector, ScanReport) {
    defer { bar.clear() }
    let introspector = DiskIntrospector(name: path, diskSize: open.disk.size)
    let report: ScanReport
    do throws(StorageError) {
        report = try introspector.scan(
            open.reader, parallelism: parallelism, progress: { bar.show($0, of: path) },
            isCancelled: { Interruption.isRequested })
    } catch {
        throw Refusal("\(error)")
    }
    guard !report.wasCancelled else { throw .interrupted }
    return (introspector, report)
}
