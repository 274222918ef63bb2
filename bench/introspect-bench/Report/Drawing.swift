import Console

/// An SVG drawing, piece by piece.
struct Drawing {
    private let width: Int
    private let height: Int
    private var elements: [String] = []

    /// Room between the edge and the axes.
    static let margin = (left: 56.0, right: 16.0, top: 36.0, bottom: 40.0)

    enum Anchor: String {
        case start, middle, end
    }

    init(width: Int, height: Int) {
        self.width = width
        self.height = height
    }

    mutating func rectangle(x: Double, y: Double, width: Double, height: Double, color: String) {
        elements.append(
            "<rect x=\"\(decimal(x))\" y=\"\(decimal(y))\" width=\"\(decimal(width))\" "
                + "height=\"\(decimal(max(0, height)))\" fill=\"\(color)\"/>")
    }

    mutating func line(_ points: [(x: Double, y: Double)], color: String, width: Double = 1.5) {
        let text = points.map { "\(decimal($0.x)),\(decimal($0.y))" }.joined(separator: " ")
        elements.append(
            "<polyline points=\"\(text)\" fill=\"none\" stroke=\"\(color)\" stroke-width=\"\(decimal(width))\"/>")
    }

    mutating func text(_ text: String, x: Double, y: Double, size: Int = 12, anchor: Anchor = .start) {
        let escaped = text.map { character in
            switch character {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            default: String(character)
            }
        }.joined()
        elements.append(
            "<text x=\"\(decimal(x))\" y=\"\(decimal(y))\" font-size=\"\(size)\" fill=\"#222\" "
                + "text-anchor=\"\(anchor.rawValue)\">\(escaped)</text>")
    }

    /// Colored squares with names, from the left.
    mutating func legend(_ entries: [(name: String, color: String)], x: Double, y: Double) {
        var place = x
        for (name, color) in entries {
            rectangle(x: place, y: y - 10, width: 12, height: 12, color: color)
            text(name, x: place + 17, y: y)
            place += 17 + Double(name.count) * 7 + 22
        }
    }

    var document: String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(width) \(height)" font-family="sans-serif">
        <rect width="100%" height="100%" fill="white"/>
        \(elements.joined(separator: "\n"))
        </svg>

        """
    }
}
