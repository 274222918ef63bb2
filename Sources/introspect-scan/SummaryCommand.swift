import ArgumentParser
import BlockStorage
import DiskImages
import Introspection
import Volumes

/// `introspect-scan IMAGE`.
struct SummaryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "summary",
        abstract: "Prints how the disk is divided, its file systems and how much of it is of which class (default).")

    @OptionGroup var arguments: ImageArguments

    @Option(name: .long, help: "Reads at a time.")
    var parallelism = 16

    func validate() throws {
        guard (1...64).contains(parallelism) else { throw ValidationError("--parallelism takes 1 to 64") }
    }

    func run() throws {
        let open = try OpenImage(arguments.image)
        let summary = try summary(of: open)
        if arguments.json {
            try printJSON(summary)
        } else {
            print(summary.text)
        }
        if complain(about: summary.problems) { throw ExitStatus.problems }
    }

    private func summary(of open: OpenImage) throws(ExitCode) -> Summary {
        let layout: DiskLayout
        do throws(StorageError) {
            layout = try DiskLayout.read(from: open.disk)
        } catch {
            complain("\(error)")
            throw ExitStatus.unreadable
        }
        let (_, report) = try scan(
            open, arguments.image, parallelism: parallelism, showsProgress: !arguments.noProgress)
        return Summary(path: arguments.image, open.image, layout, report)
    }
}

/// Scans the disk for the commands that tell of classes; ends the command when it cannot be read.
func scan(
    _ open: OpenImage, _ path: String, parallelism: Int, showsProgress: Bool
) throws(ExitCode) -> (DiskIntrospector, ScanReport) {
    Interruption.watch()
    let bar = ProgressBar(isEnabled: showsProgress)
    defer { bar.clear() }
    let introspector = DiskIntrospector(name: path, diskSize: open.disk.size)
    let report: ScanReport
    do throws(StorageError) {
        report = try introspector.scan(
            DeviceReader(open.disk), parallelism: parallelism, progress: { bar.show($0) },
            isCancelled: { Interruption.isRequested })
    } catch {
        bar.clear()
        complain("\(error)")
        throw ExitStatus.unreadable
    }
    guard !report.wasCancelled else { throw ExitStatus.interrupted }
    return (introspector, report)
}
