import ArgumentParser
import Foundation
import TestBed

/// `introspect-bench attack-load`: the clients of ``AttackCommand``, run in the server's network.
struct AttackLoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attack-load",
        abstract: "Do harm to a server, and time what polite clients get meanwhile.",
        shouldDisplay: false)

    @Argument var attack: Attack
    @Option var export: String
    @Option var port: UInt16
    @Option var mountPort: UInt16
    @Option var seconds: Double

    /// What came of it.
    struct Outcome: Codable {
        /// Of a client at another address than the attacker's.
        var other: PoliteClient.Figures
        /// Of one at the same address.
        var same: PoliteClient.Figures
    }

    /// How long the attack goes on before the polite clients are timed.
    private static let lead: useconds_t = 500_000

    func run() throws {
        let files = try AttackFiles(export: export, port: port, mountPort: mountPort)
        let isNew = attack == .idleConnections
        let polite = try [NetworkNamespace.serverAddress, AttackStand.otherAddress].map {
            try PoliteClient(files: files, from: $0, connectsAnew: isNew)
        }
        let attacker = Attacker(attack, files: files)
        attacker.start()
        usleep(Self.lead)
        let seconds = seconds
        let threads = polite.map { client in Thread.start { client.run(seconds: seconds) } }
        for thread in threads { thread.join() }
        attacker.stop()
        let outcome = Outcome(other: polite[1].figures, same: polite[0].figures)
        say(String(decoding: try JSONEncoder().encode(outcome), as: UTF8.self))
        // Connections end with the process; the attacker's threads may wait for replies.
        _exit(0)
    }
}

/// The handles that all clients use.
struct AttackFiles: Sendable {
    let port: UInt16
    let mountPort: UInt16
    let image: [UInt8]
    let target: [UInt8]
    let directory: [UInt8]
    let root: [UInt8]

    init(export: String, port: UInt16, mountPort: UInt16) throws(NFSClientError) {
        let connection = try NFSConnection(host: NetworkNamespace.serverAddress, port: port)
        (self.port, self.mountPort) = (port, mountPort)
        func find(_ name: String) throws(NFSClientError) -> [UInt8] {
            try LoadRun.handle(
                of: name, in: export, host: NetworkNamespace.serverAddress, mountPort: mountPort, over: connection)
        }
        image = try find(AttackStand.image)
        target = try find(AttackStand.target)
        directory = try find(AttackStand.directory)
        root = try find(".")
    }
}
