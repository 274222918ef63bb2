import ArgumentParser
import Foundation
import TestBed

/// `introspect-bench micro`: what a call costs, beside NFS-Ganesha and in one run.
struct MicroCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "micro",
        abstract: "Measure single kinds of calls of introspectd beside NFS-Ganesha.",
        discussion: """
            Servers run at the same time, each with a directory of the same content in a network namespace of its \
            own, and are loaded in turn: every measurement is made of each server before the next round. Needs root.
            """)

    @Option(help: "Servers, with commas between them: ours, off (introspection off), ganesha.")
    var servers = ServerList(servers: [.ours, .ganesha])

    @Option(help: "Measurements of each server; tables show medians.")
    var rounds = 5

    @Option(help: "Seconds a measurement.")
    var seconds = 0.5

    @Option(parsing: .upToNextOption, help: "Only measurements whose name contains one of these.")
    var only: [String] = []

    @Flag(help: "A third of the measurements: those that the targets speak of, and one of each kind.")
    var quick = false

    @Option(help: "Keep results in this directory, and do not repeat what is there already.")
    var results: String?

    @Flag(help: "Print the records as JSON instead of tables.")
    var json = false

    /// One measurement to be made.
    private struct Step {
        let cell: LoadCell
        let server: MicroRecord.Server
        let round: Int
    }

    func validate() throws {
        guard rounds > 0, seconds > 0, !servers.servers.isEmpty else {
            throw ValidationError("rounds and seconds are positive, and there is a server")
        }
        guard !cells.isEmpty else { throw ValidationError("no measurement has such a name") }
    }

    private var cells: [LoadCell] {
        (quick ? MicroMatrix.quick : MicroMatrix.full).filter { cell in
            only.isEmpty || only.contains { cell.name.contains($0) }
        }
    }

    func run() throws {
        try Bed.with { bed in
            let results = try results ?? TemporaryDirectory(on: bed).path
            try FileManager.default.createDirectory(
                atPath: MicroRecord.directory(in: results), withIntermediateDirectories: true)
            try measure(into: results, on: bed)
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
                say(String(decoding: try encoder.encode(try MicroRecord.all(in: results)), as: UTF8.self))
            } else {
                say(try MicroReport.markdown(from: results))
            }
        }
    }

    private func measure(into results: String, on bed: Bed) throws {
        let wakeful = WakefulProcessors()
        defer { withExtendedLifetime(wakeful) {} }
        let environment = try RunEnvironment(isWakeful: wakeful != nil)
        let due = steps().filter {
            !MicroRecord.isKept($0.cell, $0.server, round: $0.round, environment: environment, in: results)
        }
        guard !due.isEmpty else { return }
        let stand = try MicroStand(on: bed)
        try stand.start(MicroRecord.Server.allCases.filter { server in due.contains { $0.server == server } })
        for (number, step) in due.enumerated() {
            let title = "\(step.cell.name), round \(step.round): \(step.server.title)"
            tell("\(number + 1) of \(due.count): \(title)")
            let record = MicroRecord(
                cell: step.cell, server: step.server, round: step.round,
                result: try stand.measure(step.cell, step.server, seconds: seconds), environment: environment,
                date: Date().formatted(.iso8601))
            try record.write(in: results)
        }
        try stand.stop()
    }

    /// Everything to be measured, in order: A B A B for each cell.
    private func steps() -> [Step] {
        cells.flatMap { cell in
            let measured = servers.servers + (cell.operation == .writeSync ? [.local] : [])
            return (1...rounds).flatMap { round in
                measured.map { Step(cell: cell, server: $0, round: round) }
            }
        }
    }
}

/// Servers on the command line, with commas between them.
struct ServerList: ExpressibleByArgument {
    let servers: [MicroRecord.Server]

    init(servers: [MicroRecord.Server]) {
        self.servers = servers
    }

    init?(argument: String) {
        let words = argument.split(separator: ",")
        servers = words.compactMap { MicroRecord.Server(rawValue: String($0)) }.filter { $0 != .local }
        guard servers.count == words.count else { return nil }
    }

    var defaultValueDescription: String { servers.map(\.rawValue).joined(separator: ",") }
}
