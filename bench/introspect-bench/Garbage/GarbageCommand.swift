import ArgumentParser
import Console
import Foundation
import TestBed

/// `introspect-bench garbage`: what a guest that destroys its own file system does to its neighbour.
struct GarbageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "garbage",
        abstract: "Measure what a guest that writes garbage over its own metadata costs its neighbour.",
        discussion: """
            One client writes random bytes to blocks of one image as fast as it can, another reads and writes blocks \
            of a second image at a fixed rate and is timed. The garbage goes to all metadata, or to bitmaps, inode \
            tables, directories and the like alone, so that it stays a file system. The same is done to a server \
            that does not look into images, in turn, on an image of its own each time; and without garbage. Needs \
            root. The exit status is 1 when a median of the rounds is above --limit.
            """)

    /// Where the garbage goes.
    enum Phase: String, Codable, CaseIterable {
        case idle
        case metadata
        case tables
    }

    @Option(help: "Seconds of each measurement.")
    var seconds = 5.0

    @Option(help: "Measurements of each kind.")
    var rounds = 12

    @Option(help: "Calls a second that are timed.")
    var rate = 200.0

    @Option(help: "The guests' file system: ext2, ext3 or ext4.")
    var type = "ext4"

    @Option(help: "How many times the 99th percentile of a server that does not look into images is allowed.")
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
        /// Whether the server looks into images.
        var introspects: Bool
        var round: Int
        var outcome: DisturbedLoadCommand.Outcome
        /// The server's resident memory afterwards, in bytes.
        var residentBytes: Int
    }

    func run() throws {
        let records = try Bed.with { bed in
            let stands = try [true, false].map {
                try GarbageStand(on: bed, introspects: $0, type: type, rounds: rounds)
            }
            let records = try measure(stands)
            for stand in stands { try stand.stop() }
            return records
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            say(String(decoding: try encoder.encode(records), as: UTF8.self))
        } else {
            say(Self.text(records))
        }
        let worst = max(Self.ratio(.metadata, records), Self.ratio(.tables, records))
        guard worst <= limit else {
            tell("\(decimal(worst)) times the 99th percentile without introspection, above \(limit)")
            throw ExitCode.failure
        }
    }

    private func measure(_ stands: [GarbageStand]) throws -> [Record] {
        var records: [Record] = []
        for round in 1...rounds {
            for phase in Phase.allCases {
                for stand in round % 2 == 1 ? stands : stands.reversed() {
                    let outcome = try stand.measure(phase, round: round, calls: rate, seconds: seconds)
                    tell(
                        "round \(round), \(phase.rawValue), introspection \(stand.introspects ? "on" : "off"): p99 "
                            + "\(decimal(outcome.p99Microseconds)) us, \(Int(outcome.garbageRate)) writes of garbage "
                            + "a second")
                    records.append(
                        Record(
                            phase: phase, introspects: stand.introspects, round: round, outcome: outcome,
                            residentBytes: try stand.residentBytes()))
                }
            }
        }
        return records
    }

    /// How many times the 99th percentile of the server that does not look into images: the median of the rounds.
    static func ratio(_ phase: Phase, _ records: [Record]) -> Double {
        let rounds = Dictionary(grouping: records.filter { $0.phase == phase }, by: \.round).values
        return median(
            rounds.compactMap { round in
                guard let on = round.first(where: \.introspects)?.outcome.p99Microseconds,
                    let off = round.first(where: { !$0.introspects })?.outcome.p99Microseconds
                else { return nil }
                return on / off
            })
    }

    private static func median(_ values: [Double]) -> Double {
        values.isEmpty ? 0 : values.sorted()[values.count / 2]
    }

    private static func text(_ records: [Record]) -> String {
        let rows = Phase.allCases.flatMap { phase in
            [true, false].map { introspects in
                let own = records.filter { $0.phase == phase && $0.introspects == introspects }
                func middle(_ value: (DisturbedLoadCommand.Outcome) -> Double) -> Double {
                    median(own.map { value($0.outcome) })
                }
                return [
                    phase.rawValue, introspects ? "on" : "off", "\(Int(middle(\.garbageRate)))",
                    "\(Int(middle(\.medianMicroseconds)))", "\(Int(middle(\.p99Microseconds)))",
                    "\(Int(middle(\.p999Microseconds)))", introspects ? decimal(ratio(phase, records)) : "1",
                    "\((own.map(\.residentBytes).max() ?? 0) >> 20)",
                ]
            }
        }
        return table(
            [["garbage in", "introspection", "writes/s", "median us", "p99 us", "p99.9 us", "p99 / off's", "MiB"]]
                + rows)
    }
}
