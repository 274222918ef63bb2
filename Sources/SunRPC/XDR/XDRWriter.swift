public import NIOCore

/// Encodes XDR (RFC 4506) at the end of one `ByteBuffer`.
///
/// It cannot be copied, so that the buffer under it always has one owner and appending never copies what is there.
/// Bulk bytes go straight into ``buffer``, followed by ``writePadding(for:)``:
///
/// ```swift
/// let length = writer.reserve(4)
/// let count = try datastore.read(…, into: &writer.buffer)
/// writer.patch(UInt32(count), at: length)
/// writer.writePadding(for: count)
/// ```
public struct XDRWriter: ~Copyable, Sendable {
    /// What has been written, from the first byte. Append to it, and leave its reader index alone.
    public var buffer: ByteBuffer

    /// An empty writer with room for `capacity` bytes.
    public init(capacity: Int) {
        buffer = ByteBufferAllocator().buffer(capacity: capacity)
    }

    /// A writer that appends to `buffer`.
    public init(appendingTo buffer: consuming ByteBuffer) {
        self.buffer = buffer
    }

    /// The bytes in the buffer, those before the first write included.
    public var count: Int { buffer.readableBytes }

    /// An unsigned integer (RFC 4506 section 4.2).
    public mutating func write(_ value: UInt32) {
        buffer.writeInteger(value)
    }

    /// A signed integer (RFC 4506 section 4.1).
    public mutating func write(_ value: Int32) {
        buffer.writeInteger(value)
    }

    /// An unsigned hyper integer (RFC 4506 section 4.5).
    public mutating func write(_ value: UInt64) {
        buffer.writeInteger(value)
    }

    /// A hyper integer (RFC 4506 section 4.5).
    public mutating func write(_ value: Int64) {
        buffer.writeInteger(value)
    }

    /// A boolean (RFC 4506 section 4.4).
    public mutating func write(_ value: Bool) {
        buffer.writeInteger(value ? 1 : 0, as: UInt32.self)
    }

    /// An enumeration or the discriminant of a union (RFC 4506 sections 4.3 and 4.15).
    public mutating func write<Value: RawRepresentable>(_ value: Value) where Value.RawValue == UInt32 {
        buffer.writeInteger(value.rawValue)
    }

    /// Fixed-length opaque data with its padding (RFC 4506 section 4.9).
    public mutating func writeFixedOpaque(_ bytes: RawSpan) {
        buffer.writeBytes(bytes)
        writePadding(for: bytes.byteCount)
    }

    /// Variable-length opaque data: length, bytes, padding (RFC 4506 section 4.10).
    public mutating func writeOpaque(_ bytes: RawSpan) {
        write(UInt32(bytes.byteCount))
        writeFixedOpaque(bytes)
    }

    /// Variable-length opaque data: length, bytes, padding (RFC 4506 section 4.10).
    public mutating func writeOpaque(_ bytes: ByteBuffer) {
        writeOpaque(bytes.readableBytesSpan)
    }

    /// A string: length, UTF-8, padding (RFC 4506 section 4.11).
    public mutating func write(_ text: String) {
        let length = reserve(4)
        let count = buffer.writeString(text)
        patch(UInt32(count), at: length)
        writePadding(for: count)
    }

    /// The zero bytes that follow `count` bytes of opaque data, up to the next multiple of four.
    public mutating func writePadding(for count: Int) {
        let padding = Self.padding(for: count)
        if padding > 0 {
            buffer.writeRepeatingByte(0, count: padding)
        }
    }

    /// Writes `count` zero bytes to be patched later, and returns where they are.
    public mutating func reserve(_ count: Int) -> Int {
        let position = buffer.writerIndex
        buffer.writeRepeatingByte(0, count: count)
        return position
    }

    /// Overwrites four bytes at `position`, as ``reserve(_:)`` returned it (or a multiple of four behind that).
    public mutating func patch(_ value: UInt32, at position: Int) {
        buffer.setInteger(value, at: position)
    }

    /// Overwrites eight bytes at `position`, as ``reserve(_:)`` returned it (or a multiple of four behind that).
    public mutating func patch(_ value: UInt64, at position: Int) {
        buffer.setInteger(value, at: position)
    }

    /// Forgets everything written at and after `position`: what was begun did not fit, or failed.
    public mutating func truncate(to position: Int) {
        buffer.moveWriterIndex(to: position)
    }

    /// The number of bytes, 0 to 3, from `count` to the next multiple of four.
    public static func padding(for count: Int) -> Int {
        -count & 3
    }
}
