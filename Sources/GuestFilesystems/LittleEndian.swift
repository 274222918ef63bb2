extension RawSpan {
    /// The unsigned number at byte `offset`; traps outside the span, so that parsers check the size first.
    @inline(__always)
    func uint8(at offset: Int) -> UInt8 {
        unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }

    /// The little-endian number at byte `offset`; traps outside the span.
    @inline(__always)
    func uint16(at offset: Int) -> UInt16 {
        UInt16(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// The little-endian number at byte `offset`; traps outside the span.
    @inline(__always)
    func uint32(at offset: Int) -> UInt32 {
        UInt32(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// The little-endian number at byte `offset`; traps outside the span.
    @inline(__always)
    func uint64(at offset: Int) -> UInt64 {
        UInt64(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// The bytes of `range`, copied.
    func bytes(in range: Range<Int>) -> [UInt8] {
        range.map { uint8(at: $0) }
    }

    /// The text in `range` up to its first NUL; what is not UTF-8 is replaced.
    func text(in range: Range<Int>) -> String {
        String(decoding: bytes(in: range).prefix { $0 != 0 }, as: UTF8.self)
    }
}
