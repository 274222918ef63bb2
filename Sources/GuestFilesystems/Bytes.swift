import BlockStorage

extension RawSpan {
    /// The bytes of `range`, copied.
    func bytes(in range: Range<Int>) -> [UInt8] {
        range.map { uint8(at: $0) }
    }

    /// The text in `range` up to its first NUL; what is not UTF-8 is replaced.
    func text(in range: Range<Int>) -> String {
        String(decoding: bytes(in: range).prefix { $0 != 0 }, as: UTF8.self)
    }
}
