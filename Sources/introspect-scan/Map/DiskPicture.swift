import BlockStorage
import Console
import Introspection

/// A disk as a grid of cells, each coloured by the class that fills most of it.
struct DiskPicture {
    /// The picture's width in pixels.
    static let width = left + columns * cellSize + margin

    private static let cellSize = 4
    /// A power of two, as is a cell's size: each row begins at a round offset.
    private static let columns = 256
    private static let rowLimit = 256
    /// Rows from one offset to the next.
    private static let rowsPerLabel = 16
    private static let margin = 20
    /// Where the grid begins: offsets stand to its left, of no more than five characters.
    private static let left = 80
    private static let gap = 8
    private static let top = 48
    private static let legendLine = 22
    private static let legendColumns = 2
    private static let metadataWeight = 8
    /// The smallest cell: no block is smaller in most file systems.
    private static let smallestCell = 4096

    private let title: String
    private let size: Int
    private let bytesPerCell: Int
    private let cells: [BlockClass]
    /// What the legend tells: bytes by class, those that there are.
    private let totals: [(blockClass: BlockClass, bytes: Int)]

    /// The disk as `introspector` knows it now.
    init(of introspector: DiskIntrospector, title: String) {
        self.title = printable(title)
        size = introspector.diskSize
        var cell = Self.smallestCell
        while (size - 1) / cell >= Self.columns * Self.rowLimit { cell *= 2 }
        bytesPerCell = cell
        let count = (size - 1) / cell + 1
        let classes = BlockClass.allCases
        var weights = [Int](repeating: 0, count: count * classes.count)
        introspector.forEachClass(in: ByteRange(offset: 0, length: size)) { range, blockClass in
            let weight = blockClass.isMetadata ? Self.metadataWeight : 1
            for index in range.offset / cell...(range.end - 1) / cell {
                let length = min(cell, introspector.diskSize - index * cell)
                let own = ByteRange(offset: index * cell, length: length).intersection(range)
                weights[index * classes.count + Int(blockClass.rawValue)] += (own?.length ?? 0) * weight
            }
        }
        cells = (0..<count).map { index in
            let own = weights[index * classes.count..<(index + 1) * classes.count]
            let most = own.indices.max { own[$0] < own[$1] } ?? own.startIndex
            return classes[most - own.startIndex]
        }
        totals = introspector.status.totals.entries.map { ($0.blockClass, $0.bytes) }.filter { $0.bytes > 0 }
    }

    /// What the picture shows, for programs.
    struct Legend: Encodable {
        struct Line: Encodable {
            var `class`: String
            var colour: String
            var bytes: Int
        }

        var width: Int
        var height: Int
        var bytesPerCell: Int
        var classes: [Line]
    }

    /// The legend.
    var legend: Legend {
        let lines = totals.map {
            Legend.Line(class: $0.blockClass.name, colour: Colour($0.blockClass).hex, bytes: $0.bytes)
        }
        return Legend(width: Self.width, height: height, bytesPerCell: bytesPerCell, classes: lines)
    }

    private var rows: Int { (cells.count + Self.columns - 1) / Self.columns }

    /// The picture's height in pixels.
    var height: Int {
        let lines = (totals.count + Self.legendColumns - 1) / Self.legendColumns
        return Self.top + rows * Self.cellSize + Self.margin + lines * Self.legendLine + Self.margin
    }

    /// Draws title, cells and legend.
    func draw(on canvas: inout some Canvas) {
        let figures = ": \(formatted(bytes: size)), \(formatted(bytes: bytesPerCell)) a cell"
        let room = (Self.width - 2 * Self.margin - PixelFont.width(of: figures)) / PixelFont.width(of: "m")
        // The end of a path tells more than its beginning.
        let name = title.count > room ? "..." + title.suffix(room - 3) : title
        canvas.write(name + figures, x: Self.margin, y: 16, endsAtX: false)
        drawCells(on: &canvas)
        drawLegend(on: &canvas)
    }

    private func drawCells(on canvas: inout some Canvas) {
        for row in 0..<rows {
            let y = Self.top + row * Self.cellSize
            if row % Self.rowsPerLabel == 0 {
                canvas.write(offsetLabel(ofRow: row), x: Self.left - Self.gap, y: y, endsAtX: true)
            }
            let line = cells[row * Self.columns..<min((row + 1) * Self.columns, cells.count)]
            var start = line.startIndex
            while start < line.endIndex {
                let end = line[start...].firstIndex { $0 != line[start] } ?? line.endIndex
                canvas.fill(
                    x: Self.left + (start - line.startIndex) * Self.cellSize, y: y,
                    width: (end - start) * Self.cellSize, height: Self.cellSize, with: .init(line[start]))
                start = end
            }
        }
    }

    /// All in the largest unit that is in the steps from one to the next: even, exact, and all different.
    private func offsetLabel(ofRow row: Int) -> String {
        guard row > 0 else { return "0" }
        var (step, unit) = (Self.rowsPerLabel * Self.columns * bytesPerCell, 0)
        while step.isMultiple(of: 1024) { (step, unit) = (step / 1024, unit + 1) }
        return "\(row / Self.rowsPerLabel * step)\(["", "K", "M", "G", "T", "P", "E"][unit])"
    }

    private func drawLegend(on canvas: inout some Canvas) {
        let top = Self.top + rows * Self.cellSize + Self.margin
        let step = (Self.width - Self.margin) / Self.legendColumns
        for (number, entry) in totals.enumerated() {
            let x = Self.margin + number % Self.legendColumns * step
            let y = top + number / Self.legendColumns * Self.legendLine
            canvas.fill(x: x, y: y, width: 14, height: 14, with: .ink)
            canvas.fill(x: x + 1, y: y + 1, width: 12, height: 12, with: .init(entry.blockClass))
            let share = decimal(Double(entry.bytes) / Double(max(size, 1)) * 100, places: 2)
            canvas.write(
                "\(entry.blockClass.name) \(formatted(bytes: entry.bytes)) \(share)%", x: x + 22, y: y, endsAtX: false)
        }
    }
}

extension Colour {
    /// The colour of a class: greys for what holds no metadata.
    init(_ blockClass: BlockClass) {
        self =
            switch blockClass {
            case .imageFormat: Colour(0x8C564B)
            case .partitionTable: Colour(0x5B2C6F)
            case .lvmMetadata: Colour(0xA569BD)
            case .superblock: Colour(0x000000)
            case .groupDescriptor: Colour(0x7F0000)
            case .blockBitmap: Colour(0xFF7F0E)
            case .inodeBitmap: Colour(0xFFBB33)
            case .inodeTable: Colour(0xD62728)
            case .directory: Colour(0x1F77B4)
            case .indirect: Colour(0x17BECF)
            case .extendedAttribute: Colour(0xE377C2)
            case .journal: Colour(0x2CA02C)
            case .symlink: Colour(0x98DF8A)
            case .bootFile: Colour(0xBCBD22)
            case .data: Colour(0xB0B8C4)
            case .free: Colour(0xF1F3F5)
            case .pending: Colour(0xFFF176)
            case .unknown: Colour(0x6C757D)
            case .metadata: Colour(0x9467BD)
            }
    }
}
