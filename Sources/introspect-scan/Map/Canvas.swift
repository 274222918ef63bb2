/// A colour as red, green and blue, eight bits each from the left.
struct Colour: Hashable {
    let rgb: UInt32

    init(_ rgb: UInt32) { self.rgb = rgb }

    static let ink = Colour(0x212529)
    static let paper = Colour(0xFFFFFF)

    /// `#` and six hexadecimal digits.
    var hex: String {
        let digits = String(rgb, radix: 16)
        return "#" + String(repeating: "0", count: 6 - digits.count) + digits
    }
}

/// What a picture is drawn on; coordinates are pixels from the upper left corner.
protocol Canvas {
    mutating func fill(x: Int, y: Int, width: Int, height: Int, with colour: Colour)

    /// Writes a line, 14 pixels high from `y`, that begins at `x`, or ends there.
    mutating func write(_ text: String, x: Int, y: Int, endsAtX: Bool)
}
