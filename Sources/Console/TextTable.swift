import BlockStorage

/// Rows below a line of headings, as columns; those of numbers are right-aligned. Each cell is ``printable(_:)``.
///
/// - Parameter indentation: Stands before each line.
public func table(_ rows: [[String]], indentation: String = "") -> String {
    let rows = rows.map { $0.map(printable) }
    let columns = 0..<(rows.map(\.count).max() ?? 0)
    func cell(_ row: [String], _ column: Int) -> String { column < row.count ? row[column] : "" }
    let widths = columns.map { column in rows.map { cell($0, column).count }.max() ?? 0 }
    let areNumbers = columns.map { column in
        rows.dropFirst().allSatisfy { row in
            cell(row, column).first.map { $0.isNumber || "-+".contains($0) } ?? true
        }
    }
    return rows.map { row in
        let cells = columns.map { column in
            let padding = String(repeating: " ", count: widths[column] - cell(row, column).count)
            return areNumbers[column] ? padding + cell(row, column) : cell(row, column) + padding
        }
        let line = indentation + cells.joined(separator: "  ")
        return String(line.reversed().drop { $0 == " " }.reversed())
    }.joined(separator: "\n")
}
