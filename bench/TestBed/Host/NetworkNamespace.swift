import Glibc
import Synchronization

/// A network of its own with one tap device: a server stands at one end, a guest at the other.
///
/// The addresses are those set aside for documentation; nothing outside the namespace sees them.
public final class NetworkNamespace: Sendable {
    /// The server's end.
    public static let serverAddress = "192.0.2.1"
    /// The guest's end.
    public static let guestAddress = "192.0.2.2"
    /// Both ends, as clients to be allowed.
    public static let network = "192.0.2.0/24"
    /// The tap device.
    public static let tap = "tap0"

    private static let count = Atomic<Int>(0)

    /// The name that `ip netns` lists.
    public let name: String
    private let portMapper = Mutex<BackgroundProcess?>(nil)

    /// Makes it.
    public init(on bed: Bed) throws(TestBedError) {
        let name = "introspect-\(getpid())-\(Self.count.add(1, ordering: .relaxed).newValue)"
        self.name = name
        try run("ip", "netns", "add", name)
        bed.register("delete network namespace \(name)") { () throws(TestBedError) in
            try run("ip", "netns", "delete", name)
        }
        let commands = [
            ["ip", "link", "set", "lo", "up"],
            ["ip", "tuntap", "add", Self.tap, "mode", "tap"],
            ["ip", "address", "add", "\(Self.serverAddress)/24", "dev", Self.tap],
            ["ip", "link", "set", Self.tap, "up"],
        ]
        for words in commands {
            try command(words).run()
        }
    }

    /// Starts rpcbind in the namespace, until the bed is torn down. It gets a `/run` of its own, which every program started in the namespace
    /// afterwards shares; mounts made on the host later are not seen there.
    public func startPortMapper(logPath: String, on bed: Bed) throws(TestBedError) {
        let script = "mount -t tmpfs tmpfs /run && exec rpcbind -f -w -a"
        let process = try BackgroundProcess(
            wrap(["unshare", "--mount", "sh", "-c", script]), logPath: logPath, on: bed)
        try process.wait(upTo: 10, for: "listening") { isListening(port: 111, process: process.identifier) }
        portMapper.withLock { $0 = process }
        bed.register("forget rpcbind") { () throws(TestBedError) in
            self.portMapper.withLock { $0 = nil }
        }
    }

    /// `words` as run in the namespace.
    public func wrap(_ words: [String]) -> [String] {
        let mounts = portMapper.withLock { $0 }.map { ["--mount=/proc/\($0.identifier)/ns/mnt"] } ?? []
        return ["nsenter", "--net=/run/netns/\(name)"] + mounts + words
    }

    /// A command that runs in the namespace.
    public func command(_ words: [String], timeLimit: Double = 120) -> Command {
        Command(wrap(words), timeLimit: timeLimit)
    }
}

/// Whether something listens on the TCP port in the network namespace of `process`.
func isListening(port: Int, process: Int32) -> Bool {
    let listening = "0A"
    let suffix = String(port, radix: 16, uppercase: true)
    let padded = String(repeating: "0", count: max(0, 4 - suffix.count)) + suffix
    return ["tcp", "tcp6"].contains { table in
        guard let text = try? readText(of: "/proc/\(process)/net/\(table)") else { return false }
        return text.split(separator: "\n").dropFirst().contains { line in
            let fields = line.split(separator: " ")
            return fields.count > 3 && fields[1].hasSuffix(":\(padded)") && fields[3] == listening
        }
    }
}
