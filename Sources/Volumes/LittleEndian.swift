extension [UInt8] {
    /// The little-endian integer at `offset`, which must lie inside the array with all its bytes.
    func littleEndian<Integer: FixedWidthInteger & UnsignedInteger>(
        _: Integer.Type = Integer.self, at offset: Int
    ) -> Integer {
        var value: Integer = 0
        for index in (0..<Integer.bitWidth / 8).reversed() {
            value = value << 8 | Integer(self[offset + index])
        }
        return value
    }

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

extension String {
    /// The string on one line: what a terminal would act on becomes `?`.
    var printable: String {
        String(String.UnicodeScalarView(unicodeScalars.map { $0.properties.isPrintable ? $0 : "?" }))
    }
}

extension Unicode.Scalar.Properties {
    fileprivate var isPrintable: Bool {
        switch generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        default: true
        }
    }
}
