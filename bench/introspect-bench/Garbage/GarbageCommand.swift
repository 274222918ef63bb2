import ArgumentParser
import Foundation
import TestBed

/// `introspect-bench garbage`: what a guest that destroys its own file system does to its neighbour.
struct GarbageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "garbage",
        abstract: "Measure what a guest that writes garbage over its own metadata costs its neighbour.",
        discussion: """
            One client writes random bytes to blocks of one image as fast as it can, another reads and writes blocks \
            of a second image at a fixed rate and is timed. The garbage goes to all metadata; to bitmaps, inode \
            tables, directories and the like alone, so that it stays a file system; or, for comparison, as many \
            writes a second go to contents of files. These and an idle neighbour take turns, each on an image of its \
            own. Needs root. The exit status is 1 when a median of the rounds is above --limit.
            """)

    /// Where the garbage goes.
    enum Phase: String, Codable, CaseIterable {
        case idle
        case metadata
        case tables
        case data
    }

    @Option(help: "Seconds of each measurement.")
    var seconds = 10.0

    @Option(help: "Measurements of each kind.")
    var rounds = 5

    @Option(help: "Calls a second that are timed.")
    var rate = 500.0

    @Option(help: "The guests' file system: ext2, ext3 or ext4.")
    var type = "ext4"

    @Option(help: "How many times the 99th percentile beside garbage in contents of files is allowed.")
    var limit = 1.2

    @Flag(help: "Print the measurements as JSON.")
    var json = false

    func validate() throws {
        guard seconds > 0, rounds > 0, rate > 0, limit > 0 else {
            throw ValidationError("seconds, rounds, rate and limit are positive")
        }
    }

    /// A measurement.
    struct Record: Codable {
        var phase: Phase
        var round: Int
        var outcome: DisturbedLoadCommand.Outcome
        /// The server's resident memory afterwards, in bytes.
        var residentBytes: Int
    }

    func run() throws {
        let records = try Bed.with { bed in
            let stand = try GarbageStand(on: bed, type: type, rounds: rounds)
            let records = try measure(stand)
            try stand.stop()
            return records
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            say(String(decoding: try encoder.encode(records), as: UTF8.self))
        } else {
            say(Self.table(records))
        }
        let worst = max(Self.ratio(.metadata, records), Self.ratio(.tables, records))
        guard worst <= limit else {
            tell("\(decimal(worst)) times the 99th percentile beside garbage in contents of files, above \(limit)")
            throw ExitCode.failure
        }
    }

    private func measure(_ stand: GarbageStand) throws -> [Record] {
        var records: [Record] = []
        for round in 1...rounds {
            // As many writes a second as of the metadata phase before it; the order of the rest changes.
            var phases: [Phase] =
                round % 2 == 1 ? [.metadata, .data, .tables, .idle] : [.idle, .tables, .metadata, .data]
            if seconds < 1 { phases.removeAll { $0 == .idle } }
            var garbageRate: Double?
            for phase in phases {
                let outcome = try stand.measure(
                    phase, round: round, calls: rate, garbage: phase == .data ? garbageRate : nil, seconds: seconds)
                if phase == .metadata { garbageRate = outcome.garbageRate }
                tell(
                    "round \(round), \(phase.rawValue): p99 \(decimal(outcome.p99Microseconds)) us, "
                        + "\(Int(outcome.garbageRate)) writes of garbage a second")
                records.append(
                    Record(phase: phase, round: round, outcome: outcome, residentBytes: try stand.residentBytes()))
            }
        }
        return records
    }

    /// How many times the 99th percentile of `phase` is that of `data`: the median of the rounds.
    static func ratio(_ phase: Phase, _ records: [Record]) -> Double {
        let rounds = Dictionary(grouping: records, by: \.round).values
        return median(
            rounds.compactMap { round in
                guard let own = round.first(where: { $0.phase == phase })?.outcome.p99Microseconds,
                    let other = round.first(where: { $0.phase == .data })?.outcome.p99Microseconds
                else { return nil }
                return own / other
            })
    }

    private static func median(_ values: [Double]) -> Double {
        values.isEmpty ? 0 : values.sorted()[values.count / 2]
    }

    private static func table(_ records: [Record]) -> String {
        let rows = Phase.allCases.compactMap { phase -> [String]? in
            let own = records.filter { $0.phase == phase }
            guard !own.isEmpty else { return nil }
            func middle(_ value: (DisturbedLoadCommand.Outcome) -> Double) -> Double {
                median(own.map { value($0.outcome) })
            }
            return [
                phase.rawValue, "\(Int(middle(\.garbageRate)))", "\(Int(middle(\.medianMicroseconds)))",
                "\(Int(middle(\.p99Microseconds)))", "\(Int(middle(\.p999Microseconds)))",
                phase == .idle ? "-" : decimal(ratio(phase, records)),
                "\((own.map(\.residentBytes).max() ?? 0) >> 20)",
            ]
        }
        return textTable(
            [["garbage in", "writes/s", "median us", "p99 us", "p99.9 us", "p99 / data's", "server MiB"]] + rows)
    }
}
