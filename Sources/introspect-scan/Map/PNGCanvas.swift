import CZlib

/// A picture as PNG with a palette (ISO/IEC 15948, colour type 3, eight bits a pixel).
struct PNGCanvas: Canvas {
    private let width: Int
    private let height: Int
    private var pixels: [UInt8]
    private var palette: [Colour] = [.paper]

    init(width: Int, height: Int) {
        self.width = width
        self.height = height
        pixels = [UInt8](repeating: 0, count: width * height)
    }

    mutating func fill(x: Int, y: Int, width: Int, height: Int, with colour: Colour) {
        let index = index(of: colour)
        for row in max(0, y)..<min(y + height, self.height) {
            for column in max(0, x)..<min(x + width, self.width) {
                pixels[row * self.width + column] = index
            }
        }
    }

    mutating func write(_ text: String, x: Int, y: Int, endsAtX: Bool) {
        let scale = PixelFont.scale
        let x = endsAtX ? x - PixelFont.width(of: text) : x
        for (number, character) in text.enumerated() {
            for (column, bits) in PixelFont.columns(of: character).enumerated() {
                for row in 0..<PixelFont.height where bits >> row & 1 != 0 {
                    fill(
                        x: x + (number * PixelFont.advance + column) * scale, y: y + row * scale, width: scale,
                        height: scale, with: .ink)
                }
            }
        }
    }

    private mutating func index(of colour: Colour) -> UInt8 {
        if let known = palette.firstIndex(of: colour) { return UInt8(known) }
        palette.append(colour)
        return UInt8(palette.count - 1)
    }

    /// The bytes of the file.
    var encoded: [UInt8] {
        var header = bigEndian(width) + bigEndian(height)
        header += [8, 3, 0, 0, 0]
        let colours = palette.flatMap { colour in [16, 8, 0].map { UInt8(truncatingIfNeeded: colour.rgb >> $0) } }
        // Each row starts with its filter, 0: none.
        var rows: [UInt8] = []
        rows.reserveCapacity((width + 1) * height)
        for row in 0..<height {
            rows.append(0)
            rows += pixels[row * width..<(row + 1) * width]
        }
        return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
            + chunk("IHDR", header) + chunk("PLTE", colours) + chunk("IDAT", compressed(rows)) + chunk("IEND", [])
    }

    private func chunk(_ type: String, _ content: [UInt8]) -> [UInt8] {
        let body = Array(type.utf8) + content
        return bigEndian(content.count) + body + bigEndian(Int(crc32(0, body, uInt(body.count))))
    }

    private func bigEndian(_ value: Int) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    private func compressed(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Int(compressBound(uLong(bytes.count)))) { buffer, count in
            var length = uLongf(buffer.count)
            let status = compress(buffer.baseAddress, &length, bytes, uLong(bytes.count))
            precondition(status == Z_OK, "compressBound is enough")
            count = Int(length)
        }
    }
}
