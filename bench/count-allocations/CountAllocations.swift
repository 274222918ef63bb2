import CAllocations
import HotPaths
import TestBed

/// Prints for each hot path how often it asks for memory, in all threads of the server: a thousand times the number for
/// one call or block, and its name.
@main
struct CountAllocations {
    private static let count = 1000

    static func main() async throws {
        guard allocations_are_counted() else { return say("not counted under a sanitizer") }
        let bed = Bed()
        defer { bed.tearDown() }
        for path in try await HotPath.all(on: bed) {
            var before: UInt64 = 0
            var after: UInt64 = 0
            try path.run(count, begin: { before = allocation_count() }, end: { after = allocation_count() })
            say("\(after - before) \(path.kind.rawValue)")
        }
    }
}
