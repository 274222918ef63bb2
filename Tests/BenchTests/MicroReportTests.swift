import Foundation
import TestBed
import Testing

@testable import introspect_bench

/// What a page makes of the records of `introspect-bench micro`.
struct MicroReportTests {
    private static let cell = LoadCell(operation: .read, size: 4096, depth: 32)

    /// A directory of records that goes with `bed`; each server's rates, one a round.
    private static func results(_ rates: [MicroRecord.Server: [Int]], on bed: Bed) throws -> String {
        let results = try TemporaryDirectory(on: bed).path
        try FileManager.default.createDirectory(
            atPath: MicroRecord.directory(in: results), withIntermediateDirectories: true)
        let environment = try RunEnvironment()
        var latencies = LatencyHistogram()
        latencies.add(2000)
        for (server, rates) in rates {
            for (round, rate) in rates.enumerated() {
                let result = LoadResult(
                    latencies, operations: rate, seconds: 1,
                    server: ProcessorTime(user: Double(rate), system: 2 * Double(rate)),
                    own: ProcessorTime(user: 0, system: Double(rate)))
                try MicroRecord(
                    cell: cell, server: server, round: round + 1, result: result, environment: environment,
                    date: "2026-01-01T00:00:00Z"
                ).write(in: results)
            }
        }
        return results
    }

    @Test func showsMediansAndTheirRatio() throws {
        try Bed.with { bed in
            let results = try Self.results([.ours: [300, 310, 305, 1, 9999], .ganesha: [100, 102, 98]], on: bed)
            let text = try MicroReport.markdown(from: results)
            let row = try #require(text.split(separator: "\n").first { $0.contains("READ 4K") })
            let columns = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            #expect(columns[1] == "32")
            #expect(columns[2].hasPrefix("305 "))
            #expect(columns[3].hasPrefix("100 "))
            #expect(columns[4] == "3.05")
            #expect(text.contains("NFS-Ganesha"))
        }
    }

    @Test func givesNoRatioOfDisturbedRounds() throws {
        try Bed.with { bed in
            let results = try Self.results([.ours: [100, 200, 300, 400, 500], .ganesha: [100, 100, 100]], on: bed)
            let text = try MicroReport.markdown(from: results)
            let row = try #require(text.split(separator: "\n").first { $0.contains("READ 4K") })
            #expect(row.contains("disturbed"))
            #expect(!row.contains("3.00"))
        }
    }

    @Test func isEmptyWithoutRecords() throws {
        try Bed.with { bed in
            let results = try TemporaryDirectory(on: bed).path
            #expect(try MicroReport.markdown(from: results) == "")
        }
    }

    @Test func percentilesAreRightToAboutOnePercent() {
        var latencies = LatencyHistogram()
        for microseconds in 1...10_000 { latencies.add(UInt64(microseconds) * 1000) }
        for (fraction, expected) in [(0.5, 5000.0), (0.99, 9900), (0.999, 9990)] {
            #expect(abs(latencies.percentile(fraction) / expected - 1) < 0.016)
        }
        latencies.add(.max)
        #expect(latencies.percentile(1) > 1e8)
    }
}
