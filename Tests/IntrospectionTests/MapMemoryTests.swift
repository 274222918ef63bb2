import Foundation
import TestTools
import Testing

@testable import Introspection

/// The map of the paper's file set: 90,000 files of 128 KiB on average, gamma-distributed, 20 entries a directory, on
/// an ext3 of 16 GiB.
struct PaperSet {
    static let blockCount: UInt64 = 4 << 20
    static let blocksPerGroup: UInt64 = 32_768
    static let fileCount = 90_000

    var fixed: [MetadataRun] = []
    var runs: [MetadataRun] = []
    var allocation = AllocationBits(blockCount: blockCount)

    init(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for start in stride(from: 0, to: Self.blockCount, by: Int(Self.blocksPerGroup)) {
            let group = start / Self.blocksPerGroup
            var next = start
            func add(_ count: UInt32, _ blockClass: BlockClass) {
                fixed.append(MetadataRun(block: next, count: count, blockClass: blockClass))
                next += UInt64(count)
            }
            if [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125].contains(group) {
                add(1, .superblock)
                add(1024, .groupDescriptor)
            }
            add(1, .blockBitmap)
            add(1, .inodeBitmap)
            add(512, .inodeTable)
        }
        var block: UInt64 = 2_000
        var owner: UInt32 = 11
        func take(_ count: UInt32) -> UInt64 {
            // Past the structures at the start of a group.
            if block % Self.blocksPerGroup + UInt64(count) >= Self.blocksPerGroup - 1 {
                block = (block / Self.blocksPerGroup + 1) * Self.blocksPerGroup + 1_600
            }
            defer { block += UInt64(count) }
            return block
        }
        for file in 0..<Self.fileCount {
            if file % 19 == 0 {
                runs.append(MetadataRun(block: take(1), count: 1, blockClass: .directory, owner: owner))
                owner += 1
            }
            let blocks = UInt32(Self.gamma(&random) / 4096) + 1
            _ = take(min(blocks, 12))
            if blocks > 12 {
                runs.append(MetadataRun(block: take(1), count: 1, blockClass: .indirect, level: 1, owner: owner))
                _ = take(blocks - 12)
            }
            owner += 1
        }
        allocation.set(0..<min(block, Self.blockCount), allocated: true)
    }

    /// Bytes of a file: shape 1.5, mean 128 KiB (the sum of an exponential and half the square of a normal number).
    private static func gamma(_ random: inout SplitMix64) -> Double {
        let scale = 131_072 / 1.5
        let exponential = -log(Double.random(in: 1e-12..<1, using: &random))
        let normal =
            sqrt(-2 * log(Double.random(in: 1e-12..<1, using: &random)))
            * cos(2 * Double.pi * Double.random(in: 0..<1, using: &random))
        return scale * (exponential + normal * normal / 2)
    }

    func makeMap() -> FileSystemMap {
        var map = FileSystemMap(blockSize: 4096, allocation: allocation, fixed: fixed)
        map.load(runs, roots: runs.sorted { ($0.owner, $0.block) < ($1.owner, $1.block) })
        return map
    }
}

@Suite struct MapMemoryTests {
    private static let imageSize = Int(PaperSet.blockCount) * 4096

    @Test func thePapersSetTakesLessThanItsShare() {
        let set = PaperSet(seed: 1)
        #expect(set.runs.count > 70_000)
        let map = set.makeMap()
        let share = Double(map.memoryBytes) / Double(Self.imageSize)
        print("class map: \(map.memoryBytes) bytes for \(set.runs.count) runs, \(share * 100)% of the image")
        #expect(share < 0.0002)
    }

    /// A day's work: half of the files go and others come elsewhere, one by one.
    @Test func theShareHoldsAfterMuchWasReplaced() {
        let set = PaperSet(seed: 2)
        var map = set.makeMap()
        var random = SplitMix64(seed: 3)
        for run in set.runs where Bool.random(using: &random) {
            _ = map.setRuns(of: run.owner, [], digest: nil) { _ in }
            var other = run
            other.block = UInt64.random(in: 0..<PaperSet.blockCount, using: &random)
            _ = map.setRuns(of: run.owner, [other], digest: nil) { _ in }
        }
        let share = Double(map.memoryBytes) / Double(Self.imageSize)
        print("class map after churn: \(map.memoryBytes) bytes, \(share * 100)% of the image")
        #expect(share < 0.00022)
    }
}
