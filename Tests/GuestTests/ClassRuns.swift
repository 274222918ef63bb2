/// What the blocks of a disk are, as `introspect-scan runs` prints it; owners are left out and what touches is joined.
struct ClassRuns {
    struct Run: Equatable, CustomStringConvertible {
        var range: Range<Int>
        let name: Substring

        var description: String { "\(range.lowerBound)+\(range.count) \(name)" }
    }

    private(set) var runs: [Run] = []

    /// Reads lines `OFFSET LENGTH CLASS OWNER`.
    init(lines: String) throws {
        for line in lines.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count == 4, let offset = Int(fields[0]), let length = Int(fields[1]) else {
                throw Malformed(line: String(line))
            }
            if let last = runs.last, last.name == fields[2], last.range.upperBound == offset {
                runs[runs.count - 1].range = last.range.lowerBound..<offset + length
            } else {
                runs.append(Run(range: offset..<offset + length, name: fields[2]))
            }
        }
    }

    struct Malformed: Error {
        let line: String
    }

    func bytes(of name: String) -> Int {
        runs.filter { $0.name == name }.reduce(0) { $0 + $1.range.count }
    }

    /// The first few runs that only one of the two has.
    func differences(from other: ClassRuns) -> [String] {
        runs.difference(from: other.runs).prefix(10).map { change in
            switch change {
            case .insert(_, let run, _): "only here: \(run)"
            case .remove(_, let run, _): "only there: \(run)"
            }
        }
    }
}
