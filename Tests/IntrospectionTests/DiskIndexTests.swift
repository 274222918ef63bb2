import BlockStorage
import Testing
import Volumes

@testable import Introspection

/// How a disk is divided between structures and volumes, of which tenants can make many.
struct DiskIndexTests {
    /// What is done for four times as many structures and ranges is a little more than four times as much, not sixteen.
    @Test func structuresAndRangesAreNotMultiplied() {
        #expect(accesses(count: 4096) < 5 * accesses(count: 1024))
    }

    /// How often a structure is looked at when each of so many lies in the middle of a range.
    private func accesses(count: Int) -> Int {
        let structures = CountedStructures(
            structures: (0..<count).map {
                DiskStructure(range: ByteRange(offset: $0 * 1024 + 256, length: 512), kind: .lvmMetadata)
            })
        for number in 0..<count {
            let range = ByteRange(offset: number * 1024, length: 1024)
            var gaps: [ByteRange] = []
            DiskIndex.forEachGap(in: range, between: structures) { gaps.append($0) }
            #expect(gaps == [0, 768].map { ByteRange(offset: range.offset + $0, length: 256) })
        }
        return structures.counter.accesses
    }
}

/// Structures that count how often one is looked at.
private struct CountedStructures: RandomAccessCollection {
    final class Counter {
        var accesses = 0
    }

    let structures: [DiskStructure]
    let counter = Counter()

    var startIndex: Int { structures.startIndex }
    var endIndex: Int { structures.endIndex }

    subscript(index: Int) -> DiskStructure {
        counter.accesses += 1
        return structures[index]
    }
}
