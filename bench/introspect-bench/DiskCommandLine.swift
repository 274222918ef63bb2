import ArgumentParser
import Console
import TestBed

/// `introspect-bench disk`: serves a modelled disk until it is stopped.
struct DiskCommandLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disk",
        abstract: "Mount a file that answers as a mechanical or a solid-state disk does.",
        discussion: """
            Mounts a FUSE file system on DIRECTORY with the files `disk`, `statistics.json` (what the disk did, as it \
            is read), `trace` (the requests since `tracing on`) and `control` (write `timing on`, `timing off`, \
            `tracing on`, `tracing off`, `errors on`, `errors off`, `snapshot` or `restore`), and serves it until \
            SIGINT or SIGTERM. \
            Put a file system on it with: losetup --find --show --direct-io=on DIRECTORY/disk
            """)

    typealias Preset = DiskPreset

    @Argument(help: "The directory to mount on.")
    var directory: String

    @Option(help: "The size of the file; K, M, G and T are powers of 1024. By default the whole disk.")
    var size: ByteSize?

    @Option(help: "The sparse file that holds the bytes. By default they are in memory.")
    var file: String?

    @Option(help: "The disk to start from; none is a disk that takes no time.")
    var preset = Preset.mhz2250b

    @OptionGroup(title: "Instead of the preset's")
    var common: CommonDiskOverrides

    @OptionGroup(title: "Instead of the preset's, for mechanical disks")
    var mechanical: MechanicalDiskOverrides

    @OptionGroup(title: "Instead of the preset's, for solid-state disks")
    var solidState: SolidStateDiskOverrides

    func run() throws {
        let drive = try drive()
        guard (size?.bytes ?? 1) > 0 else { throw ValidationError("a disk has at least one byte") }
        let server = try DiskServer(
            DiskServer.Configuration(
                mountPoint: directory, size: size?.bytes ?? drive.capacity, backingFile: file, drive: drive,
                isTiming: true))
        try server.run()
    }

    /// The preset's drive with what the command line says instead, and at least as large as the file.
    private func drive() throws -> Drive {
        guard !mechanical.areGiven || preset.isMechanical, !solidState.areGiven || preset.isSolidState else {
            throw ValidationError("the preset \(preset.rawValue) is not of the kind that the options are for")
        }
        switch preset.drive {
        case .mechanical(var parameters):
            common.apply(to: &parameters)
            mechanical.apply(to: &parameters)
            parameters.capacity = max(parameters.capacity, size?.bytes ?? 0)
            return .mechanical(parameters)
        case .solidState(var parameters):
            common.apply(to: &parameters)
            solidState.apply(to: &parameters)
            parameters.capacity = max(parameters.capacity, size?.bytes ?? 0)
            return .solidState(parameters)
        case .instant(let capacity):
            return .instant(capacity: size?.bytes ?? common.capacity?.bytes ?? capacity)
        }
    }
}

extension DiskPreset: ExpressibleByArgument {
    fileprivate var isMechanical: Bool { if case .mechanical = drive { true } else { false } }
    fileprivate var isSolidState: Bool { if case .solidState = drive { true } else { false } }
}
