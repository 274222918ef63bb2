import ArgumentParser
import BlockStorage

@main
struct IntrospectScan: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "introspect-scan",
        abstract: "Tells what every block of a virtual machine's disk image is.",
        discussion: """
            Reads raw images and flat VMDKs (the descriptor or the -flat file), partition tables (MBR, GPT), LVM2, and \
            ext2, ext3 and ext4 file systems. Nothing is written. Offsets are those of the virtual disk, which for all \
            but a VMDK of several extents are those of the file.

            Exit status: 0 when the whole image was understood; 1 when something in it was not, or was found damaged: \
            each problem is a line on standard error; 2 when an image, or what is asked for in it, cannot be read at \
            all, or the output cannot be written; of several images the highest; 3 when diff finds a difference; 64 for a \
            command line that makes no sense; 130 when it was interrupted.
            """,
        subcommands: [
            SummaryCommand.self, RunsCommand.self, ExplainCommand.self, ListCommand.self, CatCommand.self,
            DiffCommand.self, MapCommand.self, ExportCommand.self,
        ],
        defaultSubcommand: SummaryCommand.self)

    /// Takes arguments that are not UTF-8, too: as the commands show names, which is how they take paths of guests.
    static func main() { main(HostPaths.arguments.map(\.json)) }
}

/// The exit statuses that the help documents.
enum ExitStatus {
    static let problems = ExitCode(1)
    static let unreadable = ExitCode(2)
    static let different = ExitCode(3)
    static let interrupted = ExitCode(130)
}

/// What the image does not say of its disk.
struct DiskArguments: ParsableArguments {
    @Option(
        name: .customLong("with"),
        help: ArgumentHelp(
            """
            Another disk of the same machine, for LVM2 volume groups that reach over several; may be given several times. \
            Offsets then go on behind the first disk's end.
            """, valueName: "image"), completion: .file())
    var images: [String] = []

    @OptionGroup var sectors: SectorSize
}

/// The size of a disk's sectors, which no raw image says.
struct SectorSize: ParsableArguments {
    @Option(
        name: .customLong("sector-size"),
        help: ArgumentHelp(
            """
            The size of the disk's sectors, which an MBR counts in: 512 or 4096. (default: by what is found where partitions \
            would begin)
            """, valueName: "bytes"))
    var bytes: Int?

    func validate() throws {
        guard [nil, 512, 4096].contains(bytes) else { throw ValidationError("--sector-size takes 512 or 4096") }
    }
}

/// What every subcommand takes.
struct ImageArguments: ParsableArguments {
    @Argument(help: "The image: a raw disk, a VMDK descriptor or a flat VMDK.", completion: .file())
    var image: String

    @OptionGroup var disk: DiskArguments

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    @Flag(name: .long, help: "Show no progress bar.")
    var noProgress = false
}
