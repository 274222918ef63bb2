/// A cursor that decodes XDR (RFC 4506) from bytes that nobody has checked.
///
/// Every method either returns a value and moves past it and its padding, or throws and leaves the cursor where it was.
/// Padding bytes are skipped without a look at their value, as other servers do.
///
/// ```swift
/// var reader = XDRReader(call.arguments.readableBytesSpan)
/// let handle = try reader.opaque(max: 64)
/// let offset = try reader.uint64()
/// ```
public struct XDRReader: ~Escapable {
    @usableFromInline let bytes: RawSpan
    /// The bytes consumed so far.
    public private(set) var offset = 0

    /// A cursor at the start of `bytes`.
    @_lifetime(copy bytes)
    public init(_ bytes: RawSpan) {
        self.bytes = bytes
    }

    /// The bytes not consumed yet.
    public var remaining: Int { bytes.byteCount - offset }

    /// An unsigned integer (RFC 4506 section 4.2).
    public mutating func uint32() throws(XDRError) -> UInt32 {
        try require(4)
        let value = UInt32(bigEndian: bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt32.self))
        offset += 4
        return value
    }

    /// A signed integer (RFC 4506 section 4.1).
    public mutating func int32() throws(XDRError) -> Int32 {
        Int32(bitPattern: try uint32())
    }

    /// An unsigned hyper integer (RFC 4506 section 4.5).
    public mutating func uint64() throws(XDRError) -> UInt64 {
        try require(8)
        let value = UInt64(bigEndian: bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
        offset += 8
        return value
    }

    /// A hyper integer (RFC 4506 section 4.5).
    public mutating func int64() throws(XDRError) -> Int64 {
        Int64(bitPattern: try uint64())
    }

    /// A boolean (RFC 4506 section 4.4): 0 or 1 and nothing else.
    public mutating func bool() throws(XDRError) -> Bool {
        let start = offset
        let value = try uint32()
        guard value <= 1 else {
            offset = start
            throw XDRError(.invalidValue(value), offset: start)
        }
        return value == 1
    }

    /// An enumeration or the discriminant of a union (RFC 4506 sections 4.3 and 4.15).
    public mutating func enumeration<Value: RawRepresentable>(
        _ type: Value.Type = Value.self
    ) throws(XDRError) -> Value where Value.RawValue == UInt32 {
        let start = offset
        let number = try uint32()
        guard let value = Value(rawValue: number) else {
            offset = start
            throw XDRError(.invalidValue(number), offset: start)
        }
        return value
    }

    /// Fixed-length opaque data of `count` bytes (RFC 4506 section 4.9).
    @_lifetime(copy self)
    public mutating func fixedOpaque(_ count: Int) throws(XDRError) -> RawSpan {
        let range = try fixedOpaqueRange(count)
        return bytes.extracting(range)
    }

    /// Variable-length opaque data of at most `maximum` bytes (RFC 4506 section 4.10).
    @_lifetime(copy self)
    public mutating func opaque(max maximum: Int) throws(XDRError) -> RawSpan {
        let range = try opaqueRange(max: maximum)
        return bytes.extracting(range)
    }

    /// Where variable-length opaque data of at most `maximum` bytes lies, counted from the start of the data.
    ///
    /// For payloads that are to be sliced out of the `ByteBuffer` under this cursor instead of copied.
    public mutating func opaqueRange(max maximum: Int) throws(XDRError) -> Range<Int> {
        let start = offset
        let length = try uint32()
        guard length <= maximum else {
            offset = start
            throw XDRError(.tooLong(length: length, maximum: maximum), offset: start)
        }
        do {
            return try fixedOpaqueRange(Int(length))
        } catch {
            offset = start
            throw error
        }
    }

    /// A string of at most `maximum` bytes that has to be UTF-8 (RFC 4506 section 4.11).
    public mutating func string(max maximum: Int) throws(XDRError) -> String {
        let start = offset
        let range = try opaqueRange(max: maximum)
        let text = bytes.extracting(range).withUnsafeBytes { String(validating: $0, as: UTF8.self) }
        guard let text else {
            offset = start
            throw XDRError(.invalidText, offset: start)
        }
        return text
    }

    /// The length of a variable-length array of at most `maximum` elements (RFC 4506 section 4.13).
    public mutating func arrayCount(max maximum: Int) throws(XDRError) -> Int {
        let start = offset
        let count = try uint32()
        guard count <= maximum else {
            offset = start
            throw XDRError(.tooLong(length: count, maximum: maximum), offset: start)
        }
        return Int(count)
    }

    /// Moves past `count` bytes and their padding.
    public mutating func skip(_ count: Int) throws(XDRError) {
        _ = try fixedOpaqueRange(count)
    }

    private mutating func fixedOpaqueRange(_ count: Int) throws(XDRError) -> Range<Int> {
        try require(count)
        let range = offset..<offset + count
        let padding = XDRWriter.padding(for: count)
        guard padding <= bytes.byteCount - range.upperBound else {
            throw XDRError(.endOfData(needed: count + padding, available: remaining), offset: offset)
        }
        offset = range.upperBound + padding
        return range
    }

    private func require(_ count: Int) throws(XDRError) {
        guard count >= 0, count <= remaining else {
            throw XDRError(.endOfData(needed: count, available: remaining), offset: offset)
        }
    }
}
