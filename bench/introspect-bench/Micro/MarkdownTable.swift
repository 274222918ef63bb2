/// A table that reads well as Markdown and on a terminal.
struct MarkdownTable {
    private var rows: [[String]]

    /// A table without rows; the first column holds words, the others figures.
    init(_ header: [String]) {
        rows = [header]
    }

    mutating func append(_ row: [String]) {
        rows.append(row)
    }

    /// The lines of the table, each with its end.
    var text: String {
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        func line(_ cells: [String]) -> String {
            let padded = cells.indices.map { column in
                let space = String(repeating: " ", count: widths[column] - cells[column].count)
                return column == 0 ? cells[column] + space : space + cells[column]
            }
            return "| \(padded.joined(separator: " | ")) |\n"
        }
        let rule = widths.indices.map { column in
            String(repeating: "-", count: widths[column] - (column == 0 ? 0 : 1)) + (column == 0 ? "" : ":")
        }
        return line(rows[0]) + line(rule) + rows.dropFirst().map(line).joined()
    }
}
