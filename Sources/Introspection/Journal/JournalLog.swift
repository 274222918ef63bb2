/// Where the blocks of a journal are on its volume.
struct JournalLog: Sendable {
    /// Consecutive blocks of the journal that are consecutive on the volume.
    struct Run: Hashable, Sendable {
        /// The first block, counted from the start of the journal.
        var index: UInt32
        /// Where it is in the file system.
        var block: UInt64
        var count: UInt32
    }

    /// More runs than any journal has that mke2fs or tune2fs made.
    static let runLimit = 16_384

    private let byIndex: [Run]
    private let byBlock: [Run]

    /// The journal that `runs` make up, in any order.
    ///
    /// An extent names any place in the file: what would lie past block 2^32 - 1 is cut off, as no journal is that long.
    init(_ runs: [Run]) {
        let runs = runs.compactMap { run -> Run? in
            let count = min(run.count, UInt32.max - run.index)
            return count > 0 ? Run(index: run.index, block: run.block, count: count) : nil
        }
        byIndex = runs.sorted { $0.index < $1.index }
        byBlock = runs.sorted { $0.block < $1.block }
    }

    var memoryBytes: Int { (byIndex.capacity + byBlock.capacity) * MemoryLayout<Run>.stride }

    /// The file system's block that holds block `index` of the journal.
    func block(at index: UInt32) -> UInt64? {
        let next = byIndex.partitioningIndex { $0.index > index }
        guard next > 0, index - byIndex[next - 1].index < byIndex[next - 1].count else { return nil }
        return byIndex[next - 1].block + UInt64(index - byIndex[next - 1].index)
    }

    /// The block of the journal that the file system's `block` holds.
    func index(of block: UInt64) -> UInt32? {
        let next = byBlock.partitioningIndex { $0.block > block }
        guard next > 0 else { return nil }
        let run = byBlock[next - 1]
        let skipped = block - run.block
        guard skipped < UInt64(run.count) else { return nil }
        return run.index + UInt32(truncatingIfNeeded: skipped)
    }
}
