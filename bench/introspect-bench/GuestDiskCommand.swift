import ArgumentParser
import Console
import Glibc
import TestBed

/// `introspect-bench guest-disk`: the demo's guest disk, to look at.
struct GuestDiskCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "guest-disk",
        abstract: "Make a guest's disk: GPT, LVM, and an aged ext3 full of files. Needs root.")

    @Argument(help: "The image file to make; what is there is replaced.")
    var path: String

    @Option(help: "The number of files.")
    var files = 10_000

    @Option(help: "The size of the disk.")
    var size = ByteSize(bytes: 1 << 30)

    @Option(help: "Names the disk: the same seed makes the same files.")
    var seed: UInt64 = 1

    func run() throws {
        guard geteuid() == 0 else { throw ValidationError("mounting the guest's file system needs root") }
        guard files > 0, size.bytes >= 256 << 20 else {
            throw ValidationError("a guest's disk needs files, and 256M at least")
        }
        try Bed.with { bed in
            let disk = try GuestDisk(
                at: path, size: size.bytes, files: files, seed: seed, in: TemporaryDirectory(on: bed))
            say("\(path): \(disk.files) files in \(disk.directories) directories on \(GuestDisk.volume)")
        }
    }
}
