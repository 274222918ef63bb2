import ArgumentParser

/// A number of bytes in the largest unit that it fills.
func formatted(bytes: Int) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var unit = 0
    var size = 1
    while unit + 1 < units.count, bytes / size >= 1024 {
        size *= 1024
        unit += 1
    }
    return unit == 0 ? "\(bytes) bytes" : "\(decimal(Double(bytes) / Double(size), places: 1)) \(units[unit])"
}

/// A number with a fixed number of decimal places, which must be few.
func decimal(_ value: Double, places: Int) -> String {
    let scale = (0..<places).reduce(1) { scale, _ in scale * 10 }
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    let scaled = Int((abs(value) * Double(scale)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard places > 0 else { return "\(sign)\(scaled)" }
    let fraction = "\(scaled % scale)"
    return "\(sign)\(scaled / scale)." + String(repeating: "0", count: places - fraction.count) + fraction
}

/// A guest chooses its names: what would steer a terminal is shown as an escape.
func printable(_ name: String) -> String {
    name.unicodeScalars.map { scalar in
        scalar.properties.generalCategory == .control ? scalar.escaped(asASCII: true) : String(scalar)
    }.joined()
}

/// A duration in seconds.
func formatted(_ duration: Duration) -> String {
    "\(decimal(seconds(duration), places: 3)) s"
}

/// A duration in seconds.
func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
}

/// Rows as columns, the first one left-aligned and the others right-aligned.
func table(_ rows: [[String]]) -> String {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
        let cells = row.enumerated().map { column, cell in
            let padding = String(repeating: " ", count: widths[column] - cell.count)
            return column == 0 ? cell + padding : padding + cell
        }
        return "  " + cells.joined(separator: "  ")
    }.joined(separator: "\n")
}

/// An offset on the command line: decimal, `0x` and hexadecimal, or decimal with K, M, G or T for powers of 1024.
struct ByteOffset: ExpressibleByArgument {
    let bytes: Int

    init?(argument: String) {
        let text = argument.lowercased()
        if text.hasPrefix("0x") {
            guard let value = Int(text.dropFirst(2), radix: 16), value >= 0 else { return nil }
            bytes = value
            return
        }
        let suffixes: [Character: Int] = ["k": 10, "m": 20, "g": 30, "t": 40]
        let shift = text.last.flatMap { suffixes[$0] }
        guard let value = Int(shift == nil ? text[...] : text.dropLast()), value >= 0 else { return nil }
        let (product, overflow) = value.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        guard !overflow else { return nil }
        bytes = product
    }
}
