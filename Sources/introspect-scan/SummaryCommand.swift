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
        Interruption.watch()
        let bar = ProgressBar(isEnabled: !arguments.noProgress)
        defer { bar.clear() }
        let introspector = DiskIntrospector(name: arguments.image, diskSize: open.disk.size)
        let layout: DiskLayout
        let report: ScanReport
        do throws(StorageError) {
            layout = try DiskLayout.read(from: open.disk)
            report = try introspector.scan(
                DeviceReader(open.disk), parallelism: parallelism, progress: { bar.show($0) },
                isCancelled: { Interruption.isRequested })
        } catch {
            bar.clear()
            complain("\(error)")
            throw ExitStatus.unreadable
        }
        guard !report.wasCancelled else { throw ExitStatus.interrupted }
        return Summary(path: arguments.image, open.image, layout, report)
    }
}
