import HotPaths
import TestBed
import Testing

/// How often the server asks for memory where it is hot, in a build without optimisation. Counted in
/// a process of its own, for in this one other tests ask for memory, too.
struct AllocationTests {
    /// For one call or block; who makes them fewer writes the new number here.
    private static let most: [HotPath.Kind: Int] = [
        .cachedRead: 22, .dataWrite: 30, .attributes: 18, .lookup: 48, .classifiedData: 3, .classifiedInodeTable: 5,
        .classOfBlock: 3, .redirectedWrite: 8,
    ]

    @Test func hotPathsAskForNoMoreMemoryThanTheyDid() throws {
        let output = try run(try Executable.path(of: "count-allocations"))
        guard !output.hasPrefix("not counted") else { return }
        var counted: Set<HotPath.Kind> = []
        for line in output.split(separator: "\n") {
            let words = line.split(separator: " ")
            let kind = try #require(words.last.flatMap { HotPath.Kind(rawValue: String($0)) })
            let ofThousand = try #require(words.first.flatMap { Int($0) })
            counted.insert(kind)
            let most = try #require(Self.most[kind])
            // A timer, or a table that grows, may come between.
            #expect(ofThousand <= most * 1000 + 500, "\(kind.rawValue): more than \(most)")
            #expect(ofThousand > 0, "nothing is counted")
        }
        #expect(counted == Set(HotPath.Kind.allCases))
    }
}
