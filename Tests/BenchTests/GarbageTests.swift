import Foundation
import TestBed
import Testing

@testable import introspect_bench

/// A guest that writes garbage over its own metadata, and its neighbour.
struct GarbageTests {
    /// `INTROSPECT_GARBAGE_ROUNDS=12` is the long form, with the limit that is promised, for a machine that does nothing
    /// else; some hundred calls tell whether the neighbour waits for the server's work on the garbage, and no more.
    @Test func theNeighbourDoesNotWaitForWorkOnGarbage() throws {
        let rounds = ProcessInfo.processInfo.environment["INTROSPECT_GARBAGE_ROUNDS"]
        let words = [
            try Executable.path(of: "introspect-bench"), "garbage", "--json", "--seconds", rounds == nil ? "1" : "5",
            "--rounds", rounds ?? "1", "--limit", rounds == nil ? "50" : "1.2",
        ]
        let result = try Command(words, timeLimit: 120 + 60 * (rounds.flatMap { Double($0) } ?? 0)).result()
        #expect(result.status == 0, "\(result.errorOutput)")
        let records = try JSONDecoder().decode([GarbageCommand.Record].self, from: Data(result.output.utf8))
        #expect(Set(records.map(\.phase)).isSuperset(of: [.metadata, .tables]))
        for record in records {
            #expect(record.outcome.calls > 50)
            #expect(record.phase == .idle || record.outcome.garbageRate > 100)
            #expect(record.residentBytes < 1 << 30)
        }
    }
}
