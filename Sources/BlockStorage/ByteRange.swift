/// A half-open range of bytes on a device or in a file: `offset ..< offset + length`.
///
/// Both members are never negative and the end never overflows: the initialisers check it, so that code which
/// holds a `ByteRange` need not.
public struct ByteRange: Hashable, Sendable {
    /// The first byte.
    public let offset: Int
    /// The number of bytes.
    public let length: Int

    /// The range of `length` bytes from `offset`; both must be non-negative and their sum must not overflow.
    @inlinable
    public init(offset: Int, length: Int) {
        precondition(offset >= 0 && length >= 0 && offset <= Int.max - length, "not a byte range")
        self.offset = offset
        self.length = length
    }

    /// The range that untrusted numbers name, or nil when they overflow.
    @inlinable
    public init?(checkedOffset offset: UInt64, length: UInt64) {
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard !overflow, end <= UInt64(Int.max) else { return nil }
        self.offset = Int(offset)
        self.length = Int(length)
    }

    /// The first byte after the range.
    @inlinable
    public var end: Int { offset + length }

    /// Whether the range holds no byte.
    @inlinable
    public var isEmpty: Bool { length == 0 }

    /// Whether the two ranges share a byte.
    @inlinable
    public func overlaps(_ other: ByteRange) -> Bool {
        offset < other.end && other.offset < end
    }

    /// Whether every byte of `other` is in this range.
    @inlinable
    public func contains(_ other: ByteRange) -> Bool {
        offset <= other.offset && other.end <= end
    }

    /// The bytes that both ranges hold, or nil when there are none.
    @inlinable
    public func intersection(_ other: ByteRange) -> ByteRange? {
        let start = max(offset, other.offset)
        let end = min(self.end, other.end)
        return start < end ? ByteRange(offset: start, length: end - start) : nil
    }

    /// The smallest range of whole `alignment`-sized blocks that holds this one; `alignment` is a power of two.
    ///
    /// It always holds this range: where the last block ends past what `Int` can hold, it is the range that is cut off,
    /// at `Int.max`, and its length is no multiple of `alignment`.
    @inlinable
    public func aligned(to alignment: Int) -> ByteRange {
        let mask = alignment - 1
        let start = offset & ~mask
        let end = end > Int.max - mask ? (end & mask == 0 ? end : Int.max) : (end + mask) & ~mask
        return ByteRange(offset: start, length: end - start)
    }
}

extension ByteRange: CustomStringConvertible {
    /// `offset+length`, in bytes.
    public var description: String { "\(offset)+\(length)" }
}
