import TestTools
import Testing

@testable import Introspection

@Suite struct SortedChunksTests {
    private struct Number: Keyed, Equatable {
        var key: UInt64
        var value: UInt32
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func agreesWithASortedArray(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var chunks = SortedChunks<Number>()
        var model: [UInt64: UInt32] = [:]
        for step in 0..<20_000 {
            let key = UInt64.random(in: 0..<3_000, using: &random)
            if step / 5_000 % 2 == 0 ? Int.random(in: 0..<4, using: &random) > 0 : false {
                chunks.insert(Number(key: key, value: UInt32(step)))
                model[key] = UInt32(step)
            } else {
                #expect(chunks.remove(key)?.value == model.removeValue(forKey: key))
            }
            let probe = UInt64.random(in: 0..<3_000, using: &random)
            if step % 50 == 0 {
                let expected = model.keys.filter { $0 <= probe }.max()
                #expect(chunks.lastPosition(notAfter: probe).map { chunks[$0].key } == expected)
                let after = model.keys.filter { $0 > probe }.min()
                #expect(chunks.firstPosition(after: probe).map { chunks[$0].key } == after)
            }
        }
        var elements: [Number] = []
        chunks.forEach { elements.append($0) }
        #expect(elements == model.sorted { $0.key < $1.key }.map { Number(key: $0.key, value: $0.value) })
        #expect(chunks.count == model.count)
    }

    @Test func loadedChunksAreFoundAgain() {
        let chunks = SortedChunks(sorted: (0..<10_000).map { Number(key: $0 * 3, value: UInt32($0)) })
        for key in stride(from: UInt64(0), to: 29_998, by: 7) {
            #expect(chunks.lastPosition(notAfter: key).map { chunks[$0].key } == key / 3 * 3)
        }
        #expect(chunks.memoryBytes < 10_000 * 16 * 5 / 4)
    }

    @Test func memoryComesBackWhenElementsGo() {
        var chunks = SortedChunks(sorted: (0..<50_000).map { Number(key: $0, value: 0) })
        for key in UInt64(0)..<50_000 where key % 100 != 0 {
            chunks.remove(key)
        }
        #expect(chunks.count == 500)
        #expect(chunks.memoryBytes < 100_000)
    }
}

@Suite struct BlockRunSetTests {
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func agreesWithAnArrayOfTags(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var set = BlockRunSet()
        var model = [UInt32?](repeating: nil, count: 2_000)
        for _ in 0..<3_000 {
            let start = UInt64.random(in: 0..<1_900, using: &random)
            let range = start..<start + UInt64.random(in: 1...100, using: &random)
            let tag: UInt32? = [nil, 0, 1].randomElement(using: &random) ?? nil
            if let tag {
                set.insert(range, tag: tag)
            } else {
                set.remove(range)
            }
            for block in range { model[Int(block)] = tag }
        }
        var found = [UInt32?](repeating: nil, count: 2_000)
        var last: BlockRunSet.Run?
        set.forEach { run in
            for block in run.block..<run.end { found[Int(block)] = run.tag }
            if let last { #expect(last.end < run.block || last.end == run.block && last.tag != run.tag) }
            last = run
        }
        #expect(found == model)
        #expect(set.blockCount == UInt64(model.count { $0 != nil }))
    }
}
