extension [UInt8] {
    /// Whether the bytes from `offset` are those of `text`; false when the array ends before.
    func hasASCII(_ text: StaticString, at offset: Int) -> Bool {
        guard offset <= count - text.utf8CodeUnitCount else { return false }
        return text.withUTF8Buffer { $0.elementsEqual(self[offset..<offset + $0.count]) }
    }
}

extension UnsignedInteger where Self: FixedWidthInteger {
    /// `0x` and hexadecimal digits.
    var hexadecimal: String { "0x" + String(self, radix: 16) }
}
