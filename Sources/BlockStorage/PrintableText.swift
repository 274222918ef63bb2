/// A line for a terminal or a log that may have others' text in it: what would steer a terminal, end the line or hide is
/// shown as bytes, `\xHH`. What is printable already stays as it is.
public func printable(_ line: String) -> String {
    guard line.unicodeScalars.contains(where: { !$0.isVisible }) else { return line }
    return line.unicodeScalars.map(printable).joined()
}

/// The scalar, or its UTF-8 as `\xHH` when it cannot be seen.
func printable(_ scalar: Unicode.Scalar) -> String {
    scalar.isVisible ? String(scalar) : UTF8.encode(scalar).map { $0.map(hexadecimal).joined() } ?? ""
}

/// A byte as `\xHH`.
func hexadecimal(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16, uppercase: true)
    return #"\x"# + (byte < 16 ? "0" : "") + digits
}

extension Unicode.Scalar {
    /// Whether a terminal shows it, in its place and as itself: not control characters and line ends, nor what changes the
    /// direction of others or has no width (UAX #44: Cc, Cf, Cn, Zl, Zp and Default_Ignorable_Code_Point).
    fileprivate var isVisible: Bool {
        if value < 0x7F { return value >= 0x20 }
        switch properties.generalCategory {
        case .control, .format, .unassigned, .lineSeparator, .paragraphSeparator, .surrogate: return false
        // Selectors of variants choose how the character before them looks, and are part of common emoji.
        default: return properties.isVariationSelector || !properties.isDefaultIgnorableCodePoint
        }
    }
}
