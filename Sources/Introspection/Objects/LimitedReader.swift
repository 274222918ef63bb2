import BlockStorage
import Synchronization

/// Reads a disk up to a limit: hostile contents may name any number of blocks, again and again.
final class LimitedReader: ClassifiedReader {
    private let disk: any ClassifiedReader
    /// Bytes that may still be read.
    private let budget: Atomic<Int>

    init(_ disk: any ClassifiedReader, budget: Int) {
        self.disk = disk
        self.budget = Atomic(budget)
    }

    var size: Int { disk.size }

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        guard budget.subtract(range.length, ordering: .relaxed).newValue >= 0 else {
            throw StorageError(.outOfRange, operation: "read more than is stored", device: "disk", range: range)
        }
        try disk.read(range, as: blockClass, into: buffer)
    }
}
