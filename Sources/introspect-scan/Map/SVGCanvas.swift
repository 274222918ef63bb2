/// A picture as SVG 1.1.
struct SVGCanvas: Canvas {
    private let width: Int
    private let height: Int
    private var shapes: [String] = []

    init(width: Int, height: Int) {
        self.width = width
        self.height = height
    }

    mutating func fill(x: Int, y: Int, width: Int, height: Int, with colour: Colour) {
        shapes.append(
            #"<rect x="\#(x)" y="\#(y)" width="\#(width)" height="\#(height)" fill="\#(colour.hex)"/>"#)
    }

    mutating func write(_ text: String, x: Int, y: Int, endsAtX: Bool) {
        let escaped = text.map { character in
            switch character {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            default: String(character)
            }
        }.joined()
        let anchor = endsAtX ? #" text-anchor="end""# : ""
        shapes.append(#"<text x="\#(x)" y="\#(y + 12)"\#(anchor)>\#(escaped)</text>"#)
    }

    /// The whole document.
    var text: String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(width) \(height)" width="\(width)" height="\(height)" \
        font-family="sans-serif" font-size="13" fill="\(Colour.ink.hex)" shape-rendering="crispEdges">
        <rect width="100%" height="100%" fill="\(Colour.paper.hex)"/>
        \(shapes.joined(separator: "\n"))
        </svg>

        """
    }
}
