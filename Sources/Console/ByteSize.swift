public import ArgumentParser

/// A number of bytes on the command line: decimal, `0x` and hexadecimal, or decimal with K, M, G or T for powers of 1024.
public struct ByteSize: ExpressibleByArgument, CustomStringConvertible, Sendable {
    private static let units = ["T": 40, "G": 30, "M": 20, "K": 10]

    /// The number.
    public let bytes: Int

    /// So many bytes.
    public init(bytes: Int) {
        self.bytes = bytes
    }

    /// Parses `argument`; nil when it is none of these, or no `Int` holds it.
    public init?(argument: String) {
        let text = argument.uppercased()
        guard !text.hasPrefix("0X") else {
            guard let value = Int(text.dropFirst(2), radix: 16), value >= 0 else { return nil }
            bytes = value
            return
        }
        let shift = text.last.flatMap { Self.units[String($0)] }
        guard let value = Int(shift == nil ? text[...] : text.dropLast()), value >= 0 else { return nil }
        let (product, overflow) = value.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        guard !overflow else { return nil }
        bytes = product
    }

    /// As one would type it.
    public var description: String {
        let unit = Self.units.filter { bytes > 0 && bytes.isMultiple(of: 1 << $0.value) }.max { $0.value < $1.value }
        return unit.map { "\(bytes >> $0.value)\($0.key)" } ?? "\(bytes)"
    }

    /// What `--help` shows.
    public var defaultValueDescription: String { description }
}
