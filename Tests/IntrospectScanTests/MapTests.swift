import CZlib
import Foundation
import TestTools
import Testing

/// The picture of a disk, taken apart again.
@Suite struct MapTests {
    private func withImage(_ body: (String) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            let image = directory + "/<disk>\u{1B}.img"
            try runTool("mke2fs", ["-q", "-F", "-t", "ext3", "-b", "4096", image, "160M"])
            try body(image)
        }
    }

    @Test func colouredCellsAreWhereTheClassesAre() throws {
        try withImage { image in
            let path = image + ".png"
            #expect(try introspectScan(["map", image, "-o", path]).status == 0)
            let picture = try PNGPicture(try Data(contentsOf: URL(fileURLWithPath: path)))
            #expect(picture.width == 1124)
            // 160 MiB in cells of 4 KiB are 256 to the row; cells are 4 pixels wide and the grid starts at (80, 48).
            for run in try introspectScan(["runs", image]).output.split(separator: "\n") {
                let words = run.split(separator: " ")
                let expected = ["inode-table": 0xD62728, "journal": 0x2CA02C, "free": 0xF1F3F5][words[2]]
                guard let expected, let offset = Int(words[0]), let length = Int(words[1]) else { continue }
                let cells = offset / 4096..<(offset + length) / 4096
                let wrong = cells.filter {
                    picture.colour(x: 80 + $0 % 256 * 4 + 1, y: 48 + $0 / 256 * 4 + 1) != expected
                }
                #expect(wrong.isEmpty, "\(words[2])")
            }
        }
    }

    /// Offsets beside the grid: round, all different, a step apart and left of the grid, whatever the disk's size.
    @Test(arguments: [1 << 20, 3 << 30, 100 << 30, (700 << 30) + 512, 3 << 40, 15 << 40])
    func offsetsAreEvenAndBesideTheGrid(size: Int) throws {
        try withTemporaryDirectory { directory in
            let (image, path) = (directory + "/" + String(repeating: "long name ", count: 12), directory + "/map.svg")
            try makeSparseFile(image, size: size)
            _ = try introspectScan(["map", image, "-o", path])
            let text = try String(contentsOfFile: path, encoding: .utf8)
            let labels = text.matches(of: #/<text x="72" y="(\d+)" text-anchor="end">([0-9]+)([KMGTP]?)</#)
            let numbers = labels.compactMap { Int($0.2) }
            #expect(numbers.first == 0)
            let step = numbers.count > 1 ? numbers[1] : 0
            #expect(numbers == numbers.indices.map { $0 * step })
            #expect(Set(labels.dropFirst().map { String($0.3) }).count <= 1)
            #expect(labels.allSatisfy { $0.2.count + $0.3.count <= 5 })
            let unit = labels.last.flatMap { ["K": 10, "M": 20, "G": 30, "T": 40][String($0.3)] } ?? 0
            // The last label is the last that has room, and the grid begins right of them.
            #expect((numbers.last ?? 0) << unit < size)
            #expect(((numbers.last ?? 0) + step) << unit >= size || numbers.count == 1)
            #expect(text.contains(#"<rect x="80" y="48""#))
            // A long name leaves the title in the picture: a letter is 12 pixels wide at most.
            let title = try #require(text.firstMatch(of: #/<text x="20" y="28">([^<]*)</#)).1
            #expect(title.count * 12 <= 1124 - 40)
        }
    }

    @Test func drawingIsWellFormed() throws {
        try withImage { image in
            let path = image + ".svg"
            #expect(try introspectScan(["map", image, "-o", path]).status == 0)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            try runTool("python3", ["-c", "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])", path])
            for word in [#"&lt;disk&gt;\x1B.img"#, ">inode-table ", "#2ca02c"] { #expect(text.contains(word)) }
            #expect(try introspectScan(["map", image, "-o", image + ".jpg"]).status == 64)
            let missing = try introspectScan(["map", image, "-o", "/no/such/place.png"])
            #expect(missing.status == 2)
            #expect(missing.errors.contains("/no/such/place.png: No such file or directory"))
        }
    }
}

/// A PNG with a palette.
private struct PNGPicture {
    let width: Int
    private var palette: [Int] = []
    private var rows: [UInt8] = []

    init(_ data: Data) throws {
        let bytes = Array(data)
        func number(_ offset: Int) -> Int { bytes[offset..<offset + 4].reduce(0) { $0 << 8 | Int($1) } }
        #expect(Array(bytes[1..<4]) == Array("PNG".utf8))
        width = number(16)
        let height = number(20)
        var offset = 8
        while offset < bytes.count {
            let length = number(offset)
            let body = Array(bytes[offset + 4..<offset + 8 + length])
            #expect(number(offset + 8 + length) == Int(crc32(0, body, uInt(body.count))))
            switch String(decoding: body[..<4], as: UTF8.self) {
            case "PLTE":
                palette = stride(from: 4, to: body.count, by: 3).map {
                    Int(body[$0]) << 16 | Int(body[$0 + 1]) << 8 | Int(body[$0 + 2])
                }
            case "IDAT":
                var count = uLongf((width + 1) * height)
                rows = [UInt8](repeating: 0, count: Int(count))
                #expect(uncompress(&rows, &count, Array(body[4...]), uLong(body.count - 4)) == Z_OK)
                #expect(Int(count) == rows.count)
            default: break
            }
            offset += 12 + length
        }
    }

    func colour(x: Int, y: Int) -> Int { palette[Int(rows[y * (width + 1) + 1 + x])] }
}
