import BlockStorage

/// Reads a volume for one digest, up to a limit: hostile contents may name any number of blocks to follow.
final class DigestReader: ClassifiedReader, @unchecked Sendable {
    private let volume: VolumeReader
    /// Bytes that may still be read. A digest reads from one thread.
    private(set) var budget: Int

    init(_ volume: VolumeReader, budget: Int) {
        self.volume = volume
        self.budget = budget
    }

    var size: Int { volume.size }
    /// Whether a read was refused for want of budget.
    private(set) var isExhausted = false

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        guard range.length <= budget else {
            isExhausted = true
            throw StorageError(.outOfRange, operation: "digest", device: volume.volume.name, range: range)
        }
        budget -= range.length
        try volume.read(range, as: blockClass, into: buffer)
    }
}
