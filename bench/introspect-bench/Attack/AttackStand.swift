import Foundation
import Glibc
import Synchronization
import TestBed

/// A server with what is attacked, and a look at its memory.
final class AttackStand {
    static let image = "disk.img"
    static let target = "target"
    static let directory = "names"
    /// A second address in the server's network.
    static let otherAddress = "192.0.2.3"
    private static let names = 5000
    private static let sampleInterval: useconds_t = 20_000

    private let server: any DatastoreServer
    private let network: NetworkNamespace

    /// Starts a server of its own for each attack, so that none inherits another's memory.
    init(on bed: Bed, ganesha: Bool) throws {
        let temporary = try TemporaryDirectory(on: bed)
        let export = try temporary.makeDirectory("export")
        let script = """
            cd "$1"
            head -c 64M /dev/urandom > \(Self.image)
            head -c 64M /dev/zero > \(Self.target)
            mkdir \(Self.directory)
            cd \(Self.directory)
            seq -f 'entry-with-a-name-of-some-length-%06g' \(Self.names) | xargs touch
            """
        try TestBed.run("sh", "-c", script, "sh", export)
        network = try NetworkNamespace(on: bed)
        try network.command(["ip", "address", "add", "\(Self.otherAddress)/24", "dev", NetworkNamespace.tap]).run()
        if ganesha {
            try network.startPortMapper(logPath: temporary.file("rpcbind.log"), on: bed)
            server = GaneshaServer(serving: export, network: network, in: temporary, bed: bed)
        } else {
            var options = IntrospectServer.Options()
            // The attacker needs more ports than root can have.
            let help = try TestBed.run(try Executable.path(of: "introspectd"), "serve", "--help")
            if help.contains("--insecure") { options.extra.append("--insecure") }
            server = IntrospectServer(serving: export, options: options, network: network, in: temporary, bed: bed)
        }
        try server.start()
    }

    /// The server's resident memory in MiB.
    func residentMebibytes() throws -> Int {
        guard let process = server.processIdentifier else { throw TestBedError("the server does not run") }
        return try Self.residentMebibytes(of: process)
    }

    var logBytes: Int { server.log.utf8.count }

    /// Carries `attack` out; the outcome for the polite, and the most memory in MiB meanwhile.
    func run(_ attack: Attack, seconds: Double) throws -> (AttackLoadCommand.Outcome, Int) {
        guard let process = server.processIdentifier else { throw TestBedError("the server does not run") }
        let peak = Mutex(0)
        let isOver = Atomic(false)
        let sampler = Thread.start {
            while !isOver.load(ordering: .relaxed) {
                let now = (try? Self.residentMebibytes(of: process)) ?? 0
                peak.withLock { $0 = max($0, now) }
                usleep(Self.sampleInterval)
            }
        }
        defer {
            isOver.store(true, ordering: .relaxed)
            sampler.join()
        }
        let words = [
            try Executable.path(of: "introspect-bench"), "attack-load", attack.rawValue, "--export", server.directory,
            "--port", "\(server.port)", "--mount-port", "\(server.mountPort)", "--seconds", "\(seconds)",
        ]
        let output = try network.command(words, timeLimit: seconds * 4 + 60).run()
        return (
            try JSONDecoder().decode(AttackLoadCommand.Outcome.self, from: Data(output.utf8)), peak.withLock { $0 }
        )
    }

    /// Stops the server; one that does not stop is left to the bed.
    func stop() { try? server.stop() }

    private static func residentMebibytes(of process: Int32) throws -> Int {
        let status = try readText(of: "/proc/\(process)/status")
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return (line?.split(separator: " ").compactMap { Int($0) }.first ?? 0) >> 10
    }
}
