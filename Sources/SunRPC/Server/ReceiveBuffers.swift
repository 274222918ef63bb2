import NIOCore
import Synchronization

/// How much is received at a time: little, so that a connection with many short calls does not keep the others of its
/// event loop waiting, and more where a long call is under way.
///
/// `Sendable`: the connection sets the size on its event loop, where the channel asks for it.
final class ReceiveBuffers: RecvByteBufferAllocator {
    /// Some 80 calls that ask for something.
    private static let short = 8 << 10
    private static let long = 64 << 10
    /// What has to be missing of a call that is worth a long buffer.
    private static let longCall = 1 << 10

    private let size = Atomic(ReceiveBuffers.short)

    /// Notes how much is missing of the call that is being received.
    func expect(_ missing: Int) {
        size.store(missing > Self.longCall ? Self.long : Self.short, ordering: .relaxed)
    }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        allocator.buffer(capacity: size.load(ordering: .relaxed))
    }

    func record(actualReadBytes: Int) -> Bool { false }

    func nextBufferSize() -> Int? { size.load(ordering: .relaxed) }
}
