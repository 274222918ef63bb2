import ArgumentParser
import Console
import Foundation
import TestBed

/// `introspect-bench attack`: what one client can take from a server, and what is left for others.
struct AttackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attack",
        abstract: "Attack servers over loopback, and show their memory and what polite clients get.",
        discussion: """
            Each attack is carried out on a server of its own in a network namespace of its own, for a fixed time. \
            Two polite clients, one at the attacker's address and one at another, look a name up, ask for attributes or \
            read 4 KiB from the cache 200 times a second; with idle connections they connect anew ten times a second. \
            Memory is the server's resident memory at its most, and a while after the attacker is gone. Needs root. \
            The exit status is 1 when a polite client of ours waits longer than --limit.
            """)

    /// Whom to attack.
    enum Server: String, ExpressibleByArgument, CaseIterable, Codable {
        case ours
        case ganesha
    }

    @Option(parsing: .upToNextOption, help: "The servers: ours, ganesha.")
    var servers: [Server] = [.ours, .ganesha]

    @Option(parsing: .upToNextOption, help: "The attacks; all of them by default.")
    var only: [Attack] = Attack.allCases

    @Option(help: "Seconds of each attack.")
    var seconds = 10.0

    @Option(help: "Seconds after which memory is looked at again.")
    var rest = 60

    @Option(help: "The 99th percentile that is allowed, in milliseconds.")
    var limit = 100.0

    @Flag(help: "Print the measurements as JSON.")
    var json = false

    /// A measurement; memory in MiB.
    struct Record: Codable {
        var attack: Attack
        var server: Server
        var before: Int
        var peak: Int
        var after: Int
        var logKibibytes: Int
        var outcome: AttackLoadCommand.Outcome
    }

    func validate() throws {
        guard seconds > 0, seconds <= 60, rest >= 0 else {
            throw ValidationError("--seconds 1 to 60, --rest not below 0")
        }
    }

    func run() throws {
        let progress = Progress()
        var records: [Record] = []
        for attack in only {
            for server in servers {
                let record = try Bed.with { bed in try measure(attack, server, on: bed) }
                records.append(record)
                if !json { progress.say(Self.row(record).joined(separator: ", ")) }
            }
        }
        if json {
            say(String(decoding: try JSONEncoder().encode(records), as: UTF8.self))
        } else {
            var table = MarkdownTable(Self.header)
            for record in records { table.append(Self.row(record)) }
            say(table.text)
        }
        let worst = records.filter { $0.server == .ours }.map { max($0.outcome.other.p99, $0.outcome.same.p99) }.max()
        guard worst ?? 0 <= limit else {
            tell("a polite client's 99th percentile is \(decimal(worst ?? 0)) ms, above \(limit)")
            throw ExitCode.failure
        }
    }

    private func measure(_ attack: Attack, _ server: Server, on bed: Bed) throws -> Record {
        let stand = try AttackStand(on: bed, ganesha: server == .ganesha)
        defer { stand.stop() }
        let before = try stand.residentMebibytes()
        let (outcome, peak) = try stand.run(attack, seconds: seconds)
        sleep(UInt32(rest))
        return Record(
            attack: attack, server: server, before: before, peak: peak, after: try stand.residentMebibytes(),
            logKibibytes: stand.logBytes >> 10, outcome: outcome)
    }

    private static let header = [
        "attack", "server", "MiB before", "MiB peak", "MiB after", "p99 ms, other address", "longest", "failed",
        "p99 ms, same address", "longest", "failed", "log KiB",
    ]

    private static func row(_ record: Record) -> [String] {
        let polite = [record.outcome.other, record.outcome.same].flatMap {
            [decimal($0.p99, places: 1), decimal($0.longest, places: 1), "\($0.failures)/\($0.calls)"]
        }
        return [record.attack.title, record.server.rawValue, "\(record.before)", "\(record.peak)", "\(record.after)"]
            + polite + ["\(record.logKibibytes)"]
    }
}
