import BlockStorage

/// Aligned buffers for direct reads, kept for the next read instead of going back to the allocator.
///
/// A buffer keeps the bytes of its last use: whoever takes one uses no more of it than was read into it.
final class BufferPool: Sendable {
    /// The capacity of every buffer, in bytes; larger requests get a buffer of their own.
    static let bufferSize = (1 << 20) + 2 * AlignedBuffer.alignment
    private static let keptBuffers = 16

    private let free = Locked<[AlignedBuffer]>([])

    /// Runs `body` with a buffer of at least `count` bytes.
    func withBuffer<Result, Failure: Error>(
        _ count: Int, _ body: (AlignedBuffer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard count <= Self.bufferSize else { return try body(AlignedBuffer(count: count)) }
        let buffer = free.withLock { $0.popLast() } ?? AlignedBuffer(count: Self.bufferSize)
        defer {
            free.withLock { if $0.count < Self.keptBuffers { $0.append(buffer) } }
        }
        return try body(buffer)
    }
}
