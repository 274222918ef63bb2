import ArgumentParser
import TestBed

/// `introspect-bench disk`: serves a modelled disk until it is stopped.
struct DiskCommandLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disk",
        abstract: "Mount a file that answers as a mechanical disk does.",
        discussion: """
            Mounts a FUSE file system on DIRECTORY with the files `disk`, `statistics.json` (what the disk did, as it \
            is read) and `control` (write `timing on` or `timing off`), and serves it until SIGINT or SIGTERM. \
            Put a file system on it with: losetup --find --show --direct-io=on DIRECTORY/disk
            """)

    enum Preset: String, ExpressibleByArgument, CaseIterable {
        case mhz2250b
        case none
    }

    @Argument(help: "The directory to mount on.")
    var directory: String

    @Option(help: "The size of the file; K, M, G and T are powers of 1024. By default the whole disk.")
    var size: ByteCount?

    @Option(help: "The sparse file that holds the bytes. By default they are in memory.")
    var file: String?

    @Option(help: "The disk to start from: mhz2250b, or none for a disk that takes no time.")
    var preset = Preset.mhz2250b

    @OptionGroup(title: "Instead of the preset's")
    var overrides: DiskOverrides

    func run() throws {
        var parameters = DiskParameters.mhz2250b
        overrides.apply(to: &parameters)
        let size = size?.bytes ?? parameters.capacity
        guard size > 0 else { throw ValidationError("a disk has at least one byte") }
        parameters.capacity = max(parameters.capacity, size)
        let server = try DiskServer(
            DiskServer.Configuration(
                mountPoint: directory, size: size, backingFile: file, parameters: parameters,
                isTiming: preset != .none))
        try server.run()
    }
}

/// A number of bytes, with a suffix that is a power of 1024.
struct ByteCount: ExpressibleByArgument {
    let bytes: Int

    init(bytes: Int) {
        self.bytes = bytes
    }

    init?(argument: String) {
        let digits = argument.prefix { $0.isNumber }
        guard let number = Int(digits), number >= 0 else { return nil }
        let shifts = ["": 0, "K": 10, "M": 20, "G": 30, "T": 40]
        guard let shift = shifts[argument.dropFirst(digits.count).uppercased()] else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        guard !overflow else { return nil }
        bytes = product
    }
}

/// Every parameter of the model, each as an option.
struct DiskOverrides: ParsableArguments {
    @Option(help: "Size of the whole disk, over which the seek curve spans.")
    var capacity: ByteCount?
    @Option(help: "Revolutions a minute.")
    var rpm: Int?
    @Option(help: "Bytes a second under the head.")
    var transferRate: ByteCount?
    @Option(help: "Surfaces; their tracks make a cylinder.")
    var surfaces: Int?
    @Option(help: "a of the seek curve a + b sqrt(x), in milliseconds; x is the fraction of the full stroke.")
    var seekShortBase: Double?
    @Option(help: "b of the seek curve, in milliseconds.")
    var seekShortFactor: Double?
    @Option(help: "The fraction of the full stroke from which c + e x holds.")
    var seekKnee: Double?
    @Option(help: "c of the seek curve, in milliseconds.")
    var seekLongBase: Double?
    @Option(help: "e of the seek curve, in milliseconds.")
    var seekLongFactor: Double?
    @Option(help: "Fixed cost of a command, in milliseconds.")
    var commandOverhead: Double?
    @Option(help: "Bytes a second between buffer and host.")
    var interfaceRate: ByteCount?
    @Option(help: "How far the drive reads on.")
    var readAhead: ByteCount?
    @Option(help: "Stretches of read data in the drive's buffer.")
    var readSegments: Int?
    @Option(help: "Written data that the drive's buffer holds; 0 writes through.")
    var writeCache: ByteCount?
    @Option(help: "The most written data that goes to the platter in one go.")
    var writeBackUnit: ByteCount?
    @Option(help: "Commands that the drive holds and chooses from.")
    var queueDepth: Int?
    @Option(help: "The age, in milliseconds, at which a command goes before all others.")
    var patience: Double?

    func apply(to parameters: inout DiskParameters) {
        func set<Value>(_ path: WritableKeyPath<DiskParameters, Value>, _ value: Value?) {
            if let value { parameters[keyPath: path] = value }
        }
        func nanoseconds(_ milliseconds: Double?) -> Int? {
            milliseconds.map { Int(min(max($0, 0), 1e9) * 1e6) }
        }
        set(\.capacity, capacity?.bytes)
        set(\.rotationsPerMinute, rpm)
        set(\.transferRate, transferRate?.bytes)
        set(\.surfaces, surfaces)
        set(\.seek.shortBase, nanoseconds(seekShortBase))
        set(\.seek.shortFactor, nanoseconds(seekShortFactor))
        set(\.seek.knee, seekKnee)
        set(\.seek.longBase, nanoseconds(seekLongBase))
        set(\.seek.longFactor, nanoseconds(seekLongFactor))
        set(\.commandOverhead, nanoseconds(commandOverhead))
        set(\.interfaceRate, interfaceRate?.bytes)
        set(\.readAhead, readAhead?.bytes)
        set(\.readSegments, readSegments)
        set(\.writeCache, writeCache?.bytes)
        set(\.writeBackUnit, writeBackUnit?.bytes)
        set(\.queueDepth, queueDepth)
        set(\.patience, nanoseconds(patience))
    }
}
