import BlockStorage

/// Reads a file system for one digest, up to a limit: hostile contents may name any number of blocks to follow.
final class DigestReader: ClassifiedReader, @unchecked Sendable {
    private let reader: NewestReader
    /// Bytes that may still be read. A digest reads from one thread.
    private(set) var budget: Int

    init(_ reader: NewestReader, budget: Int) {
        self.reader = reader
        self.budget = budget
    }

    var size: Int { reader.size }
    /// Whether a read was refused for want of budget.
    private(set) var isExhausted = false

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        guard range.length <= budget else {
            isExhausted = true
            throw StorageError(.outOfRange, operation: "digest", device: reader.volume.volume.name, range: range)
        }
        budget -= range.length
        try reader.read(range, as: blockClass, into: buffer)
    }
}
