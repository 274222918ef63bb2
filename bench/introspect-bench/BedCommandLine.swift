import ArgumentParser
import Glibc
import TestBed

/// `introspect-bench bed`: everything that a measurement stands on, for work by hand.
struct BedCommandLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bed",
        abstract: "Set up a slow disk with a file system and a network for a guest, until interrupted.")

    @Option(help: "The disk model's preset.")
    var preset = DiskCommandLine.Preset.mhz2250b

    @Option(help: "The file system on the disk: ext4 or xfs.")
    var fileSystem = DiskModel.FileSystem.ext4

    func run() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let disk = try DiskModel(preset: preset.rawValue, fileSystem: fileSystem, in: temporary, bed: bed)
            let network = try NetworkNamespace(on: bed)
            if preset != .none { try disk.setTiming(true) }
            say("directory on the disk: \(disk.directory)")
            say("network namespace:     \(network.name)")
            say("ready; Ctrl-C takes everything away")
            while true {
                sleep(3600)
            }
        }
    }
}

extension DiskModel.FileSystem: ExpressibleByArgument {}
