/// Numbers in structures on disk. All trap outside the bytes that they are read from, so that parsers check sizes first.
extension RawSpan {
    /// The unsigned number at byte `offset`.
    @inlinable @inline(__always)
    public func uint8(at offset: Int) -> UInt8 { unsafeLoad(fromByteOffset: offset, as: UInt8.self) }

    /// The little-endian number at byte `offset`.
    @inlinable @inline(__always)
    public func uint16(at offset: Int) -> UInt16 { littleEndian(at: offset) }

    /// The little-endian number at byte `offset`.
    @inlinable @inline(__always)
    public func uint32(at offset: Int) -> UInt32 { littleEndian(at: offset) }

    /// The little-endian number at byte `offset`.
    @inlinable @inline(__always)
    public func uint64(at offset: Int) -> UInt64 { littleEndian(at: offset) }

    /// The little-endian number at byte `offset`.
    @inlinable @inline(__always)
    public func littleEndian<Number: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, as _: Number.Type = Number.self
    ) -> Number {
        Number(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: Number.self))
    }

    /// The big-endian number at byte `offset`.
    @inlinable @inline(__always)
    public func bigEndian<Number: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, as _: Number.Type = Number.self
    ) -> Number {
        Number(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: Number.self))
    }
}

extension [UInt8] {
    /// The little-endian number at byte `offset`.
    @inlinable
    public func littleEndian<Number: FixedWidthInteger & BitwiseCopyable>(
        _: Number.Type = Number.self, at offset: Int
    ) -> Number {
        span.bytes.littleEndian(at: offset)
    }
}

extension UnsafeRawBufferPointer {
    /// The little-endian number at byte `offset`.
    @inlinable
    public func littleEndian<Number: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, as _: Number.Type = Number.self
    ) -> Number {
        bytes.littleEndian(at: offset)
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Puts a number at byte `offset`, little-endian.
    @inlinable
    public func setLittleEndian(_ number: some FixedWidthInteger & BitwiseCopyable, at offset: Int) {
        precondition(offset >= 0 && offset <= count - number.bitWidth / 8)
        storeBytes(of: number.littleEndian, toByteOffset: offset, as: type(of: number))
    }
}
