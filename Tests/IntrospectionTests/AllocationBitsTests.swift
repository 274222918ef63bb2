import TestTools
import Testing

@testable import Introspection

@Suite struct AllocationBitsTests {
    private static let chunk = Int(AllocationBits.bitsPerChunk)

    /// Against an array of booleans, with ranges that make whole chunks free or allocated among others.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func agreesWithAModel(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let count = 4 * Self.chunk + 777
        var bits = AllocationBits(blockCount: UInt64(count))
        var model = [Bool](repeating: false, count: count)
        for _ in 0..<60 {
            let start = Int.random(in: 0..<count, using: &random)
            let limit = Bool.random(using: &random) ? 300 : 2 * Self.chunk
            var range = start..<min(count, start + Int.random(in: 1...limit, using: &random))
            if Int.random(in: 0..<4, using: &random) == 0 {
                let first = start / Self.chunk * Self.chunk
                range = first..<min(count, first + Self.chunk)
            }
            if Bool.random(using: &random) {
                let isAllocated = Bool.random(using: &random)
                bits.set(UInt64(range.lowerBound)..<UInt64(range.upperBound), allocated: isAllocated)
                for block in range { model[block] = isAllocated }
            } else {
                let bitmap = (0..<(range.count + 7) / 8).map { _ in UInt8.random(in: 0...255, using: &random) }
                bitmap.withUnsafeBytes {
                    _ = bits.set(first: UInt64(range.lowerBound), count: UInt64(range.count), bitmap: $0)
                }
                for (bit, block) in range.enumerated() { model[block] = bitmap[bit / 8] >> UInt8(bit % 8) & 1 == 1 }
            }
            #expect(
                bits.allocatedCount(in: UInt64(range.lowerBound)..<UInt64(range.upperBound))
                    == model[range].count { $0 })
            let probe = Int.random(in: 0..<count, using: &random)
            let end = model[probe...].firstIndex { $0 != model[probe] } ?? count
            #expect(bits.endOfRun(from: UInt64(probe), limit: UInt64(count)) == UInt64(end))
        }
        #expect((0..<count).allSatisfy { bits.isAllocated(UInt64($0)) == model[$0] })
        #expect(AllocationBits(blockCount: UInt64(count), chunks: bits.chunks) == bits)
    }

    /// Counts against the blocks one by one, with ranges that begin and end anywhere in words and clusters.
    @Test(arguments: [1, 4, 64]) func countsBlocks(blocksPerBit: Int) {
        var random = SplitMix64(seed: UInt64(blocksPerBit))
        let count = 3 * Self.chunk * blocksPerBit - 5
        var bits = AllocationBits(blockCount: UInt64(count), blocksPerBit: blocksPerBit)
        let noise = (0..<Self.chunk / 8).map { _ in UInt8.random(in: 0...255, using: &random) }
        noise.withUnsafeBytes { _ = bits.set(first: 0, count: UInt64(Self.chunk * blocksPerBit), bitmap: $0) }
        bits.set(UInt64(Self.chunk * blocksPerBit)..<UInt64(2 * Self.chunk * blocksPerBit), allocated: true)
        bits.set(UInt64(count - 3)..<UInt64(count), allocated: true)
        var before = [UInt64(0)]
        for block in 0..<UInt64(count) { before.append(before.last! + (bits.isAllocated(block) ? 1 : 0)) }
        #expect(bits.allocatedCount(in: 0..<UInt64(count)) == before[count])
        for _ in 0..<2000 {
            let start = Int.random(in: 0...count, using: &random)
            let limit = Bool.random(using: &random) ? 70 : count
            let end = min(count, start + Int.random(in: 0...limit, using: &random))
            #expect(bits.allocatedCount(in: UInt64(start)..<UInt64(end)) == before[end] - before[start])
        }
    }

    @Test func whatIsAlikeTakesNoMemory() {
        var bits = AllocationBits(blockCount: 1 << 37)
        #expect(bits.memoryBytes < 64 << 20)
        let before = bits.memoryBytes
        bits.set(1 << 36..<1 << 36 + 1000, allocated: true)
        #expect(bits.memoryBytes > before)
        bits.set(1 << 36..<1 << 36 + 1000, allocated: false)
        #expect(bits.memoryBytes == before)
        #expect(bits.endOfRun(from: 1 << 33, limit: 1 << 37) == 1 << 37)
    }

    /// Where a cluster has many blocks a bitmap of a few bytes stands for very many: it costs what its bits cost.
    @Test func aBitMayStandForACluster() {
        let perCluster = 1 << 18
        var bits = AllocationBits(blockCount: 1 << 31, blocksPerBit: perCluster)
        let bitmap = [UInt8](repeating: 0x55, count: 512)
        var changes = 0
        bitmap.withUnsafeBytes {
            _ = bits.set(first: 0, count: UInt64(4096 * perCluster), bitmap: $0) { _ in changes += 1 }
        }
        #expect(bits.memoryBytes < 16 << 10 && changes <= 64)
        #expect(bits.isAllocated(5) && bits.isAllocated(UInt64(perCluster) - 1))
        #expect(!bits.isAllocated(UInt64(perCluster)))
        #expect(bits.endOfRun(from: 0, limit: 1 << 31) == UInt64(perCluster))
        bits.set(7..<8, allocated: false)
        #expect(!bits.isAllocated(0))
    }

    /// What hostile bitmaps make is bounded, and errs to the side of allocated.
    @Test func thereIsALimit() {
        var bits = AllocationBits(blockCount: UInt64(100 * Self.chunk), memoryLimit: 10 * 4096)
        let noise = [UInt8](repeating: 0x55, count: Self.chunk / 8)
        for start in stride(from: 0, to: UInt64(100 * Self.chunk), by: Self.chunk) {
            noise.withUnsafeBytes { _ = bits.set(first: start, count: UInt64(Self.chunk), bitmap: $0) }
        }
        #expect(bits.isFull && bits.mixedCount == 10 && bits.memoryBytes < 50_000)
        #expect((0..<100 * Self.chunk).allSatisfy { $0 % 2 == 1 || bits.isAllocated(UInt64($0)) })
        // Where one goes there is room for another.
        bits.set(0..<UInt64(Self.chunk), allocated: true)
        bits.set(UInt64(99 * Self.chunk)..<UInt64(99 * Self.chunk + 5), allocated: false)
        #expect(bits.isFull && !bits.isAllocated(UInt64(99 * Self.chunk)))
    }
}
