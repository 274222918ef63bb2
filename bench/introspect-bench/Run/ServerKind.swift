import ArgumentParser
import TestBed

/// A server that workloads are run against.
enum ServerKind: String, Codable, CaseIterable, ExpressibleByArgument {
    /// introspectd with everything that it can do.
    case ours
    /// introspectd with introspection and the RAM cache, and nothing else.
    case oursCache = "ours-cache"
    /// introspectd with introspection off: its page cache and read-ahead remain.
    case off
    /// NFS-Ganesha.
    case ganesha
    /// As `ours`, on a disk that takes no time: what is left is guest, network and server.
    case floor

    /// How it is told in a report.
    var title: String {
        switch self {
        case .ours: "on"
        case .oursCache: "RAM cache only"
        case .off: "off"
        case .ganesha: "NFS-Ganesha"
        case .floor: "floor"
        }
    }

    /// Whether it looks into the images.
    var introspects: Bool { self != .off && self != .ganesha }

    /// Whether the disk takes its time.
    var hasDisk: Bool { self != .floor }

    /// The server for a directory, not started yet; `registers` has clients find it by the port mapper.
    func make(
        serving directory: String, registers: Bool, network: NetworkNamespace, in temporary: TemporaryDirectory,
        bed: Bed
    ) -> any DatastoreServer {
        if self == .ganesha {
            return GaneshaServer(serving: directory, network: network, in: temporary, bed: bed)
        }
        var options = IntrospectServer.Options()
        options.introspects = introspects
        options.registers = registers
        return IntrospectServer(serving: directory, options: options, network: network, in: temporary, bed: bed)
    }
}
