import Foundation
import TestBed
import Testing

@testable import introspect_bench

/// `introspect-bench micro` against a real server.
struct MicroCommandTests {
    @Test func measuresEachKindOfCallOnceAndDoesNotRepeatIt() throws {
        try Bed.with { bed in
            let results = try TemporaryDirectory(on: bed).path
            let names = [
                "read-4k-depth32", "write-64k-depth8", "write-sync-4k-depth16", "getattr-depth32", "lookup-depth32",
                "readdirplus-depth1",
            ]
            let words =
                [
                    try Executable.path(of: "introspect-bench"), "micro", "--quick", "--servers", "ours", "--rounds",
                    "1",
                    "--seconds", "0.05", "--results", results, "--only",
                ] + names
            try Command(words).run()
            let records = try MicroRecord.all(in: results)
            let measured = Set(records.filter { $0.server == .ours }.map(\.cell.operation))
            #expect(measured.isSuperset(of: [.read, .write, .writeSync, .readdirplus]))
            #expect(records.contains { $0.server == .local && $0.cell.operation == .writeSync })
            for record in records {
                #expect(record.result.operations > 0)
                #expect(record.result.medianMicroseconds > 0)
            }

            let again = try Command(words).result()
            #expect(again.status == 0)
            #expect(!again.errorOutput.contains("round 1"), "what is there already is not measured again")
            #expect(again.output.contains("## Server"))
        }
    }
}
