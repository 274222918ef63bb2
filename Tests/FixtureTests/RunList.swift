import BlockStorage
import DiskImages
import FixtureKit
import Introspection
import Testing

/// What introspection says of a whole disk.
struct RunList {
    struct Run {
        let range: ByteRange
        let blockClass: BlockClass
        let owner: UInt64?
    }

    let runs: [Run]

    /// Scans the image at `path` afresh and lists its runs, which must be sorted and gapless and agree with the
    /// class map.
    init(scanning path: String) throws {
        let image = try DiskImage.identify(path: path) ?? DiskImage.raw(path: path)
        let disk = try VirtualDisk.open(image, access: .readOnly, mode: .buffered)
        let reader = DeviceReader(disk)
        let introspector = DiskIntrospector(name: path, diskSize: disk.size)
        let report = try introspector.scan(reader, parallelism: 2)
        #expect(report.problems.isEmpty)
        #expect(report.status.state == .current)
        var runs: [Run] = []
        try introspector.forEachRun(reader) { runs.append(Run(range: $0, blockClass: $1, owner: $2)) }
        self.runs = runs
        var end = 0
        for run in runs {
            try #require(run.range.offset == end && !run.range.isEmpty, "a gap or an overlap at \(end)")
            end = run.range.end
        }
        #expect(end == disk.size)
        var differing: [String] = []
        var cursor = Cursor(self)
        introspector.forEachClass(in: ByteRange(offset: 0, length: disk.size)) { range, blockClass in
            cursor.forEachRun(in: range) { part in
                if part.blockClass != blockClass {
                    differing.append("\(part.range): run \(part.blockClass.name), map \(blockClass.name)")
                }
            }
        }
        #expect(differing.isEmpty, "runs and map differ: \(differing.prefix(10).joined(separator: "; "))")
    }

    /// Walks the runs in the order of the disk, or from anywhere by search.
    struct Cursor {
        private let runs: [Run]
        private var index = 0

        init(_ list: RunList) {
            runs = list.runs
        }

        /// Calls `body` with the parts of runs that `range` holds.
        mutating func forEachRun(in range: ByteRange, _ body: (Run) -> Void) {
            seek(to: range.offset)
            while index < runs.count, let part = runs[index].range.intersection(range) {
                body(Run(range: part, blockClass: runs[index].blockClass, owner: runs[index].owner))
                guard runs[index].range.end < range.end else { return }
                index += 1
            }
        }

        private mutating func seek(to offset: Int) {
            if index < runs.count, runs[index].range.offset <= offset, offset < runs[index].range.end { return }
            var low = 0
            var high = runs.count
            while low < high {
                let middle = (low + high) / 2
                if runs[middle].range.end <= offset { low = middle + 1 } else { high = middle }
            }
            index = low
        }
    }
}
