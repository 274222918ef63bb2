import TestTools
import Testing

@testable import Introspection

@Suite struct FileSystemMapTests {
    /// The same as the map, one entry a block, without a thought for speed or memory.
    private struct Model {
        var fixed: [BlockClass?]
        var owned: [MetadataRun?]
        var pending: [Bool]
        var allocated: [Bool]

        func blockClass(_ block: Int) -> BlockClass {
            if let fixed = fixed[block] { return fixed }
            if let owned = owned[block] { return owned.blockClass }
            if pending[block] { return .pending }
            return allocated[block] ? .data : .free
        }
    }

    private static let blockCount = 3_000

    private static let fixed = [
        MetadataRun(block: 0, count: 1, blockClass: .superblock),
        MetadataRun(block: 1, count: 4, blockClass: .groupDescriptor),
        MetadataRun(block: 3, count: 10, blockClass: .inodeTable),
        MetadataRun(block: 1_000, count: 50, blockClass: .inodeTable),
        MetadataRun(block: 2_990, count: 100, blockClass: .blockBitmap),
    ]

    private static func makeModel() -> Model {
        var fixed = [BlockClass?](repeating: nil, count: blockCount)
        for run in Self.fixed.reversed() {
            for block in run.block..<min(run.end, UInt64(blockCount)) { fixed[Int(block)] = run.blockClass }
        }
        return Model(
            fixed: fixed, owned: Array(repeating: nil, count: blockCount),
            pending: Array(repeating: false, count: blockCount),
            allocated: Array(repeating: false, count: blockCount))
    }

    private static func randomRuns(owner: UInt32, _ random: inout SplitMix64) -> [MetadataRun] {
        (0..<Int.random(in: 0...6, using: &random)).map { _ in
            MetadataRun(
                block: UInt64.random(in: 0..<3_100, using: &random), count: UInt32.random(in: 1...40, using: &random),
                blockClass: [.directory, .indirect, .symlink].randomElement(using: &random) ?? .directory,
                level: UInt8.random(in: 0...3, using: &random), owner: owner)
        }
    }

    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func agreesWithAModelBlockByBlock(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var map = FileSystemMap(
            blockSize: 4096, allocation: AllocationBits(blockCount: UInt64(Self.blockCount)), fixed: Self.fixed)
        var model = Self.makeModel()
        for _ in 0..<300 {
            let owner = UInt32.random(in: 1...20, using: &random)
            let runs = Self.randomRuns(owner: owner, &random)
            _ = map.setRuns(of: owner, runs, digest: nil) { _ in }
            for block in 0..<Self.blockCount where model.owned[block]?.owner == owner { model.owned[block] = nil }
            // Where runs of one inode overlap, the one that starts first has the block.
            for run in runs.sorted(by: { $0.block < $1.block }).reversed() {
                for block in Int(run.block)..<Int(run.end) where block < Self.blockCount && model.fixed[block] == nil {
                    model.owned[block] = run
                    model.pending[block] = false
                }
            }
            let start = Int.random(in: 0..<Self.blockCount - 200, using: &random)
            let bits = (0..<25).map { _ in UInt8.random(in: 0...255, using: &random) }
            bits.withUnsafeBytes { _ = map.allocation.set(first: UInt64(start), count: 195, bitmap: $0) }
            for bit in 0..<195 { model.allocated[start + bit] = (bits[bit / 8] >> UInt8(bit % 8)) & 1 == 1 }
        }
        let live = (0..<Self.blockCount).map { map.blockClass(of: UInt64($0)) }
        #expect(live == (0..<Self.blockCount).map { model.blockClass($0) })
        for owner in UInt32(1)...20 {
            let blocks = map.runs(of: owner).flatMap { Array($0.block..<$0.end) }
            #expect(blocks.map(Int.init) == (0..<Self.blockCount).filter { model.owned[$0]?.owner == owner })
        }
        for _ in 0..<100 {
            let start = UInt64.random(in: 0..<3_000, using: &random)
            var next = start
            var last: BlockClass?
            map.forEachClass(in: start..<start + 500) { range, blockClass in
                #expect(range.lowerBound == next && !range.isEmpty && blockClass != last)
                #expect(range.allSatisfy { live[Int($0)] == blockClass })
                next = range.upperBound
                last = blockClass
            }
            #expect(next == min(start + 500, 3_000))
        }
    }

    @Test func loadingAtOnceEqualsLoadingOneByOne() {
        var random = SplitMix64(seed: 9)
        var runs: [MetadataRun] = []
        for block in stride(from: UInt64(20), to: 2_900, by: 7) {
            let owner = UInt32.random(in: 11...60, using: &random)
            runs.append(
                MetadataRun(
                    block: block, count: UInt32.random(in: 1...7, using: &random), blockClass: .indirect, level: 1,
                    owner: owner))
        }
        runs.shuffle(using: &random)
        var loaded = FileSystemMap(blockSize: 1024, allocation: AllocationBits(blockCount: 3_000), fixed: Self.fixed)
        loaded.load(runs, roots: [])
        var single = FileSystemMap(blockSize: 1024, allocation: AllocationBits(blockCount: 3_000), fixed: Self.fixed)
        for owner in UInt32(11)...60 {
            _ = single.setRuns(of: owner, runs.filter { $0.owner == owner }, digest: nil) { _ in }
        }
        for owner in UInt32(11)...60 {
            #expect(loaded.runs(of: owner) == single.runs(of: owner))
        }
        for block in UInt64(0)..<3_000 {
            #expect(loaded.blockClass(of: block) == single.blockClass(of: block))
        }
    }

    @Test func theLoserOfABlockIsNamedWhenTheWinnerChanges() {
        var map = FileSystemMap(blockSize: 1024, allocation: AllocationBits(blockCount: 3_000), fixed: [])
        let run = MetadataRun(block: 500, count: 10, blockClass: .directory, owner: 12)
        #expect(map.setRuns(of: 12, [run], digest: nil) { _ in }.isEmpty)
        var thief = run
        thief.owner = 13
        thief.block = 505
        thief.count = 2
        #expect(map.setRuns(of: 13, [thief], digest: nil) { _ in }.isEmpty)
        #expect(map.runs(of: 12).map(\.block) == [500, 507])
        #expect(map.setRuns(of: 13, [], digest: nil) { _ in }.map(\.loser) == [12])
        #expect(map.blockClass(of: 505) == .free)
        #expect(map.setRuns(of: 12, [run], digest: nil) { _ in }.isEmpty)
        #expect(map.runs(of: 12) == [run])
    }

    @Test func anUnchangedInodeIsTold() {
        var map = FileSystemMap(blockSize: 1024, allocation: AllocationBits(blockCount: 3_000), fixed: [])
        let roots = [MetadataRun(block: 700, count: 1, blockClass: .indirect, level: 2, owner: 12)]
        let child = MetadataRun(block: 701, count: 1, blockClass: .indirect, level: 1, owner: 12)
        let digest = FileSystemMap.digest(of: roots)
        #expect(map.isUnchanged(12, roots: [], digest: FileSystemMap.digest(of: [])) == true)
        #expect(map.isUnchanged(12, roots: roots, digest: digest) == false)
        _ = map.setRuns(of: 12, roots, digest: nil) { _ in }
        #expect(map.isUnchanged(12, roots: roots, digest: digest) == true)
        _ = map.setRuns(of: 12, roots + [child], digest: digest) { _ in }
        #expect(map.isUnchanged(12, roots: roots, digest: digest) == true)
        #expect(map.isUnchanged(12, roots: [], digest: FileSystemMap.digest(of: [])) == false)
        #expect(map.isUnchanged(13, roots: roots, digest: digest) == false)
    }
}
