import ArgumentParser
import TestBed

/// A server that workloads are run against.
enum ServerKind: String, Codable, CaseIterable, ExpressibleByArgument {
    /// introspectd with everything that it can do: the RAM cache, and metadata and data in the redirect log on a fast
    /// device.
    case ours
    /// introspectd with introspection and the RAM cache, and nothing else.
    case cache
    /// introspectd with metadata in the redirect log on the fast device, and the smallest cache that it can have.
    case ssd
    /// introspectd with introspection off: its page cache and read-ahead remain.
    case off
    /// NFS-Ganesha.
    case ganesha
    /// As `ours`, on a disk that takes no time: what is left is guest, network and server.
    case floor
    /// For the scan alone, in place of a server: e2fsprogs's copy of all metadata.
    case e2image
    /// For the scan alone: a walk of the mounted file system, file by file.
    case depthFirst = "depth-first"

    /// How it is told in a report.
    var title: String {
        switch self {
        case .ours: "on"
        case .cache: "RAM cache alone"
        case .ssd: "SSD log alone"
        case .off: "off"
        case .ganesha: "NFS-Ganesha"
        case .floor: "floor"
        case .e2image: "e2image"
        case .depthFirst: "depth first"
        }
    }

    /// Whether it looks into the images.
    var introspects: Bool {
        switch self {
        case .ours, .cache, .ssd, .floor: true
        case .off, .ganesha, .e2image, .depthFirst: false
        }
    }

    /// Whether it is none, and only reads an image.
    var isScanner: Bool { self == .e2image || self == .depthFirst }

    /// Whether the disks take their time.
    var hasDisk: Bool { self != .floor }

    /// Whether it has the redirect log on the fast device.
    var redirects: Bool { self == .ours || self == .ssd || self == .floor }

    /// Whether something is to be learned of it: the fast device takes writes only.
    func isOfInterest(for workload: Workload) -> Bool {
        switch self {
        case .cache, .ssd: workload.changesFiles
        case .off, .ganesha, .floor: workload != .scan
        case .ours: true
        case .e2image, .depthFirst: workload == .scan
        }
    }

    /// The server for a directory, not started yet.
    ///
    /// - Parameters:
    ///   - log: where the redirect log lies.
    ///   - cache: `--cache`; nil for the default.
    ///   - registers: whether clients find it by the port mapper.
    func make(
        serving directory: String, log: String?, cache: String?, registers: Bool, network: NetworkNamespace,
        in temporary: TemporaryDirectory, bed: Bed
    ) -> any DatastoreServer {
        if self == .ganesha {
            return GaneshaServer(serving: directory, network: network, in: temporary, bed: bed)
        }
        var options = IntrospectServer.Options()
        options.introspects = introspects
        options.registers = registers
        options.cache = cache
        if redirects, let log { options.extra = ["--ssd", log, "--ssd-mode", "writeback"] }
        if self == .ssd {
            options.cache = "1M"
        } else if redirects {
            options.extra += ["--ssd-classes", "metadata,data"]
        }
        return IntrospectServer(serving: directory, options: options, network: network, in: temporary, bed: bed)
    }
}
