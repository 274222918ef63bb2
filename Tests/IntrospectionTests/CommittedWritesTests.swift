import TestTools
import Testing

@testable import Introspection

/// The rule of invariant 7 (`docs/design.md`): never before the second commit after the last write.
@Suite struct CommittedWritesTests {
    private func settled(_ writes: CommittedWrites, _ range: Range<UInt64>, at commit: UInt32) -> [UInt64] {
        var blocks: [UInt64] = []
        writes.forEachSettled(in: range, at: commit) { blocks += $0 }
        return blocks
    }

    @Test func aBlockIsSettledTwoCommitsAfterItsLastWrite() {
        var writes = CommittedWrites()
        #expect(settled(writes, 0..<4, at: 100) == [])
        writes.begin(commit: 7)
        #expect(settled(writes, 0..<4, at: 8) == [])
        #expect(settled(writes, 0..<4, at: 9) == [0, 1, 2, 3])
        writes.insert(1..<3, commit: 9)
        #expect(settled(writes, 0..<4, at: 10) == [0, 3])
        writes.insert(2..<3, commit: 10)
        #expect(settled(writes, 0..<4, at: 11) == [0, 1, 3])
        #expect(settled(writes, 0..<4, at: 12) == [0, 1, 2, 3])
        writes.insert(0..<1, commit: nil)
        #expect(settled(writes, 0..<4, at: 1000) == [])
    }

    @Test func numbersWrapRound() {
        var writes = CommittedWrites()
        writes.begin(commit: .max - 1)
        writes.insert(5..<6, commit: .max)
        #expect(settled(writes, 4..<7, at: 0) == [4, 6])
        #expect(settled(writes, 4..<7, at: 1) == [4, 5, 6])
    }

    /// Against a table of every block's last write, with more runs than there is room for: what is called settled is.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func noBlockIsSettledTooEarlyWhateverIsForgotten(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var writes = CommittedWrites()
        var truth = [UInt32?](repeating: nil, count: 60_000)
        var commit: UInt32 = 40
        writes.begin(commit: commit)
        var settledOnce = false
        for step in 0..<30_000 {
            if step % 500 == 499 { commit += 1 }
            let start = Int.random(in: 0..<59_990, using: &random)
            let range = start..<start + Int.random(in: 1...4, using: &random)
            writes.insert(UInt64(range.lowerBound)..<UInt64(range.upperBound), commit: commit)
            for block in range { truth[block] = commit }
            guard step % 1000 == 999 else { continue }
            for block in settled(writes, 0..<60_000, at: commit) {
                settledOnce = settledOnce || truth[Int(block)] != nil
                #expect(truth[Int(block)].map { commit >= $0 + 2 } ?? (commit >= 42))
            }
        }
        #expect(settledOnce && writes.evictions > 0 && writes.runCount <= CommittedWrites.runLimit)
        #expect(writes.memoryBytes < 256 << 10)
    }
}
