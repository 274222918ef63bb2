import Foundation

/// A number of bytes in the largest unit that it fills.
func formatted(bytes: Int) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    let unit = units.indices.last { bytes >> (10 * $0) > 0 } ?? 0
    return unit == 0
        ? "\(bytes) bytes" : "\(decimal(Double(bytes) / Double(1 << (10 * unit)), places: 1)) \(units[unit])"
}

/// A number with a fixed number of decimal places.
func decimal(_ value: Double, places: Int) -> String { String(format: "%.\(places)f", value) }

/// Rows below a line of headings, as columns; those of numbers are right-aligned.
func table(_ rows: [[String]]) -> String {
    let columns = 0..<(rows.map(\.count).max() ?? 0)
    let widths = columns.map { column in rows.map { $0[column].count }.max() ?? 0 }
    let areNumbers = columns.map { column in
        rows.dropFirst().allSatisfy { $0[column].first?.isNumber == true || $0[column] == "-" }
    }
    return rows.map { row in
        let cells = columns.map { column in
            let padding = String(repeating: " ", count: widths[column] - row[column].count)
            return areNumbers[column] ? padding + row[column] : row[column] + padding
        }
        return cells.joined(separator: "  ")
    }.joined(separator: "\n")
}

/// Prints a value as JSON.
func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    print(String(decoding: try encoder.encode(value), as: UTF8.self))
}
