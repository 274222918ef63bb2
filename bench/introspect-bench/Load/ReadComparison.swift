import ArgumentParser
import Foundation
import TestBed

/// `introspect-bench compare-reads`: cached READs of our server beside NFS-Ganesha's, in one run.
struct CompareReadsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare-reads",
        abstract: "Measure cached READs of introspectd beside NFS-Ganesha.",
        discussion: """
            Both servers serve the same directory, one after the other and again, in a network namespace made for the \
            run. The file is the image of a disk with an ext3 on it, so that introspectd answers from its own cache. \
            Needs root.
            """)

    @Option(help: "Calls in flight; may be given several times.")
    var depth = [1, 32]

    @Option(help: "Bytes a READ.")
    var size = ByteCount(bytes: 4096)

    @Option(help: "Measurements of each server; the table shows medians.")
    var rounds = 5

    @Option(help: "Seconds a measurement.")
    var seconds = 2.0

    @Flag(help: "Print JSON instead of a table.")
    var json = false

    /// The medians of one server at one depth.
    private struct Row: Codable {
        let server: String
        let depth: Int
        let readsPerSecond: Double
        let medianMicroseconds: Double
        let p99Microseconds: Double
        let serverMicrosecondsPerRead: Double
    }

    func validate() throws {
        guard rounds > 0, seconds > 0, !depth.isEmpty, depth.allSatisfy({ (1...1024).contains($0) }) else {
            throw ValidationError("rounds and seconds are positive, a depth is 1 to 1024")
        }
    }

    func run() throws {
        let rows = try Bed.with { bed in try measure(on: bed) }
        if json {
            print(String(decoding: try JSONEncoder().encode(rows), as: UTF8.self))
        } else {
            printTable(rows)
        }
    }

    private func measure(on bed: Bed) throws -> [Row] {
        let temporary = try TemporaryDirectory(on: bed)
        let export = try temporary.makeDirectory("export")
        let network = try NetworkNamespace(on: bed)
        try TestBed.run("mke2fs", "-q", "-F", "-t", "ext3", "\(export)/disk.img", "256M")
        let ours = IntrospectServer(
            serving: export, options: IntrospectServer.Options(), network: network, in: temporary, bed: bed)
        // NFS-Ganesha does not start without one.
        try network.startPortMapper(logPath: temporary.file("rpcbind.log"), on: bed)
        let ganesha = GaneshaServer(serving: export, network: network, in: temporary, bed: bed)
        let servers: [any DatastoreServer] = [ours, ganesha]
        var results: [[ReadLoad.Result]] = servers.map { _ in [] }
        for round in 1...rounds {
            for (index, server) in servers.enumerated() {
                tell("round \(round) of \(rounds): \(server.name)")
                try server.start()
                if server === ours { try waitForScan(ours) }
                results[index] += try measure(server, network)
                try server.stop()
            }
        }
        return depth.flatMap { depth in
            zip(servers, results).map { server, results in
                row(server.name, depth, results.filter { $0.depth == depth })
            }
        }
    }

    private func waitForScan(_ server: IntrospectServer) throws {
        for _ in 0..<200 where !server.log.split(separator: "\n").contains(where: { $0.contains("scanned in") }) {
            usleep(50_000)
        }
    }

    /// The load comes from a process of its own, in the server's namespace.
    private func measure(_ server: any DatastoreServer, _ network: NetworkNamespace) throws -> [ReadLoad.Result] {
        guard let process = server.processIdentifier else { throw NFSClientError("\(server.name) does not run") }
        var words = [
            try Executable.path(of: "introspect-bench"), "reads", "--host", NetworkNamespace.serverAddress,
            "--port", "\(server.port)", "--mount-port", "\(server.mountPort)", "--export", server.directory,
            "--file", "disk.img", "--size", "\(size.bytes)", "--seconds", "\(seconds)",
            "--server-process", "\(process)", "--json",
        ]
        for depth in depth { words += ["--depth", "\(depth)"] }
        let output = try Command(network.wrap(words)).run()
        return try JSONDecoder().decode([ReadLoad.Result].self, from: Data(output.utf8))
    }

    private func row(_ server: String, _ depth: Int, _ results: [ReadLoad.Result]) -> Row {
        func median(_ value: (ReadLoad.Result) -> Double) -> Double {
            results.map(value).sorted()[results.count / 2]
        }
        return Row(
            server: server, depth: depth, readsPerSecond: median(\.readsPerSecond),
            medianMicroseconds: median(\.medianMicroseconds), p99Microseconds: median(\.p99Microseconds),
            serverMicrosecondsPerRead: median { $0.serverMicrosecondsPerRead ?? 0 })
    }

    private func printTable(_ rows: [Row]) {
        print("cached READs of \(size.bytes) bytes on one connection, medians of \(rounds)")
        print("depth   reads/s   median us   p99 us   server CPU us   server")
        for row in rows {
            print(
                String(
                    format: "%5d %9.0f %11.1f %8.1f %15.2f   %@", row.depth, row.readsPerSecond,
                    row.medianMicroseconds, row.p99Microseconds, row.serverMicrosecondsPerRead, row.server as NSString))
        }
        for pair in stride(from: 0, to: rows.count - 1, by: 2) {
            let (ours, peer) = (rows[pair], rows[pair + 1])
            print(
                String(
                    format: "depth %d: %.2f times the throughput, %.2f times the CPU of NFS-Ganesha", ours.depth,
                    ours.readsPerSecond / peer.readsPerSecond,
                    ours.serverMicrosecondsPerRead / peer.serverMicrosecondsPerRead))
        }
    }
}
