import Glibc

/// Memory that direct I/O can read into and write from: page-aligned, of a fixed size, zeroed.
///
/// Whoever holds the buffer sees to it that its bytes are not written by two threads at once.
public final class AlignedBuffer: @unchecked Sendable {
    /// The alignment, in bytes, that satisfies every file system's direct I/O on the machines we know.
    public static let alignment = 4096

    /// The bytes.
    public let bytes: UnsafeMutableRawBufferPointer

    /// Allocates `count` bytes; traps when the memory is not to be had.
    public init(count: Int) {
        precondition(count >= 0)
        var memory: UnsafeMutableRawPointer?
        let status = posix_memalign(&memory, Self.alignment, max(count, 1))
        guard status == 0, let memory else { fatalError("no memory for a buffer of \(count) bytes") }
        bytes = UnsafeMutableRawBufferPointer(start: memory, count: count)
        memset(memory, 0, count)
    }

    deinit {
        free(bytes.baseAddress)
    }

    /// The number of bytes.
    public var count: Int { bytes.count }
}
