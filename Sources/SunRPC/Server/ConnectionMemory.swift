import NIOCore

/// What one connection holds of the ``MemoryBudget``. Belongs to the connection's event loop.
///
/// A few small calls need nothing of the budget: whoever asks for attributes is answered, whatever others hold. Beyond
/// that bytes are taken from the budget and given back in pieces, so that not every call comes there.
struct ConnectionMemory {
    /// Bytes that a connection has without asking.
    private static let pocket = 64 << 10
    /// The budget is asked for multiples of this …
    private static let piece = 64 << 10
    /// … and given back what is more than this above the need.
    private static let mostSpare = 256 << 10
    /// What a short call is counted as.
    private static let leastCall = 4 << 10

    private(set) var inUse = 0
    private var granted = 0
    /// Whether the budget will hand over more.
    private(set) var isWaiting = false

    /// What a call of `length` bytes is counted as.
    static func bytes(ofCall length: Int) -> Int { max(leastCall, bytes(ofBuffer: length)) }

    /// What a call is counted as that was received: it holds on to the buffer that it was received in, perhaps alone, and
    /// has half of it at least.
    static func bytes(ofCall record: ByteBuffer) -> Int {
        max(bytes(ofCall: record.readableBytes), record.storageCapacity / 2)
    }

    /// What a buffer for `count` bytes takes: they come in powers of two.
    static func bytes(ofBuffer count: Int) -> Int {
        count <= 1 ? count : 1 << (Int.bitWidth - (count - 1).leadingZeroBitCount)
    }

    /// Takes `bytes`; false when the connection has to wait until ``handOver(_:)``, and then ask again.
    mutating func take(_ bytes: Int, ask: (_ bytes: Int) -> Bool) -> Bool {
        let missing = inUse + bytes - Self.pocket - granted
        if missing > 0 {
            guard !isWaiting else { return false }
            let wanted = (missing + Self.piece - 1) / Self.piece * Self.piece
            guard ask(wanted) else {
                isWaiting = true
                return false
            }
            granted += wanted
        }
        inUse += bytes
        return true
    }

    /// Counts bytes that are there already.
    mutating func add(_ bytes: Int) { inUse += bytes }

    /// Notes that the budget has handed over what was waited for.
    mutating func handOver(_ bytes: Int) {
        isWaiting = false
        granted += bytes
    }

    /// Notes that the budget will not.
    mutating func stopWaiting() { isWaiting = false }

    /// Lets `bytes` go; how many are to be given back to the budget.
    mutating func release(_ bytes: Int) -> Int {
        inUse -= bytes
        let spare = granted - max(0, inUse - Self.pocket)
        guard spare > 0, spare > Self.mostSpare || inUse <= Self.pocket else { return 0 }
        granted -= spare
        return spare
    }
}
