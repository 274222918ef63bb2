import BlockStorage
import TestTools
import Testing

@testable import Introspection

@Suite struct ClaimedRunsTests {
    /// Against a dictionary of blocks: who was first has a block, and only that is handed back.
    @Test(arguments: 0..<20)
    func agreesWithAModelBlockByBlock(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var claims = ClaimedRuns()
        var model: [UInt64: UInt32] = [:]
        var conflicts: UInt64 = 0
        for _ in 0..<6 {
            let wanted = (0..<Int.random(in: 0..<25, using: &random)).map { _ in
                WantedRun(
                    ExtBlockRun(
                        block: .random(in: 1..<200, using: &random), count: .random(in: 1..<40, using: &random),
                        logicalBlock: 1000, level: 0),
                    owner: .random(in: 11..<20, using: &random), contents: .directory, mapping: .indirect)
            }
            let before = model
            let accepted = claims.claim(wanted)
            for run in accepted.map(\.run) {
                for block in run.block..<run.end {
                    #expect(before[block] == nil)
                    #expect(model.updateValue(run.owner, forKey: block) == nil)
                }
            }
            let asked = Set(wanted.flatMap { Array($0.run.block..<$0.run.end) })
            #expect(Set(model.keys) == asked.union(before.keys))
            conflicts +=
                wanted.reduce(0) { $0 + UInt64($1.run.count) } - accepted.reduce(0) { $0 + UInt64($1.run.count) }
            #expect(claims.conflictCount == conflicts)
            #expect(accepted.map(\.run.block) == accepted.map(\.run.block).sorted())
        }
        var listed: [UInt64: UInt32] = [:]
        for (run, next) in zip(claims.runs, claims.runs.dropFirst()) {
            #expect(run.end <= next.block)
            #expect(run.end < next.block || run.owner != next.owner)
        }
        for run in claims.runs {
            for block in run.block..<run.end { listed[block] = run.owner }
        }
        #expect(listed == model)
    }

    @Test func aPartOfARunKeepsItsPlaceInTheFile() {
        var claims = ClaimedRuns([MetadataRun(block: 5, count: 2, blockClass: .blockBitmap)])
        let run = WantedRun(
            ExtBlockRun(block: 3, count: 10, logicalBlock: 50, level: 0), owner: 12, contents: .directory,
            mapping: .extents)
        let accepted = claims.claim([run])
        #expect(accepted.map(\.run.block) == [3, 7])
        #expect(accepted.map(\.run.count) == [2, 6])
        #expect(accepted.map(\.logicalBlock) == [50, 54])
    }

    @Test func inodesMayShareAttributes() {
        var claims = ClaimedRuns()
        let accepted = claims.claim([40, 13, 20].map { WantedRun(attributeBlock: 9, owner: $0) })
        #expect(accepted.map(\.run.owner) == [13])
        #expect(claims.claim([WantedRun(attributeBlock: 9, owner: 50)]).isEmpty)
        #expect(claims.conflictCount == 0)
    }
}

@Suite struct ReadPlanTests {
    private func plan(_ ranges: [(Int, Int)], gap: Int, limit: Int) -> [ReadPlan.Request] {
        var options = ScanOptions()
        options.gapTolerance = gap
        options.requestLimit = limit
        return ReadPlan(ranges.map { ByteRange(offset: $0.0, length: $0.1) }, options: options).requests
    }

    @Test func neighboursAreReadTogether() {
        let ranges = [(0, 10), (10, 10), (25, 5), (40, 10)]
        #expect(plan(ranges, gap: 0, limit: 100).map(\.items) == [0..<2, 2..<3, 3..<4])
        #expect(
            plan(ranges, gap: 5, limit: 100).map(\.range) == [
                ByteRange(offset: 0, length: 30), ByteRange(offset: 40, length: 10),
            ])
        #expect(plan(ranges, gap: 10, limit: 30).map(\.items) == [0..<3, 3..<4])
        #expect(plan(ranges, gap: 10, limit: 29).map(\.items) == [0..<2, 2..<4])
        #expect(plan([], gap: 1, limit: 1).isEmpty)
    }

    @Test func rangesThatTouchAndAreOfOneClassBecomeOne() {
        let ranges = [(0, 4, BlockClass.directory), (4, 4, .directory), (8, 4, .indirect), (16, 4, .indirect)].map {
            ClassifiedRange(ByteRange(offset: $0.0, length: $0.1), $0.2)
        }
        #expect(ranges.joiningNeighbours().map(\.range.length) == [8, 4, 4])
    }
}
