/// The measurements of `introspect-bench micro`.
enum MicroMatrix {
    /// Entries of the directory that LOOKUP and READDIRPLUS use.
    static let names = 50_000

    /// All of them.
    static let full: [LoadCell] = {
        var cells: [LoadCell] = []
        for operation in [LoadCell.Operation.read, .write] {
            for size in [4 << 10, 64 << 10, 1 << 20] {
                for depth in [1, 8, 32, 128] { cells.append(LoadCell(operation: operation, size: size, depth: depth)) }
            }
            for depth in [1, 32] {
                cells.append(LoadCell(operation: operation, size: 4 << 10, depth: depth, connections: 8))
            }
        }
        for depth in [1, 16] { cells.append(LoadCell(operation: .writeSync, size: 4 << 10, depth: depth)) }
        for operation in [LoadCell.Operation.getattr, .lookup] {
            for depth in [1, 32] { cells.append(LoadCell(operation: operation, depth: depth)) }
            cells.append(LoadCell(operation: operation, depth: 32, connections: 8))
        }
        for connections in [1, 8] { cells.append(LoadCell(operation: .readdirplus, connections: connections)) }
        return cells
    }()

    /// Those that the targets speak of, and one of each kind.
    static let quick = full.filter { cell in
        switch cell.operation {
        case .read, .write:
            switch cell.size {
            case 4 << 10: [1, 32].contains(cell.depth) && (cell.connections == 1 || cell.depth == 32)
            default: cell.depth == 8
            }
        case .writeSync: true
        case .getattr, .lookup: cell.depth == 32 && cell.connections == 1
        case .readdirplus: cell.connections == 1
        }
    }
}
