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

    /// The same, but what is pending here, and neither metadata nor anything else with a meaning of its own there, is as
    /// it is there.
    func settingPending(by other: ClassRuns) -> ClassRuns {
        var result = self
        result.runs = []
        var index = 0
        func append(_ range: Range<Int>, _ name: Substring) {
            if let last = result.runs.last, last.name == name, last.range.upperBound == range.lowerBound {
                result.runs[result.runs.count - 1].range = last.range.lowerBound..<range.upperBound
            } else {
                result.runs.append(Run(range: range, name: name))
            }
        }
        for run in runs {
            guard run.name == "pending" else {
                append(run.range, run.name)
                continue
            }
            while index < other.runs.count, other.runs[index].range.upperBound <= run.range.lowerBound { index += 1 }
            var start = run.range.lowerBound
            var next = index
            while start < run.range.upperBound, next < other.runs.count {
                let end = min(run.range.upperBound, other.runs[next].range.upperBound)
                let isSettled = ["free", "data"].contains(other.runs[next].name)
                append(start..<end, isSettled ? other.runs[next].name : run.name)
                start = end
                next += 1
            }
        }
        return result
    }

    /// The first few runs that only one of the two has.
    func differences(from other: ClassRuns) -> [String] {
        let changes = runs.difference(from: other.runs)
        return (changes.insertions.prefix(5) + changes.removals.prefix(5)).map { change in
            switch change {
            case .insert(_, let run, _): "only here: \(run)"
            case .remove(_, let run, _): "only there: \(run)"
            }
        }
    }
}
