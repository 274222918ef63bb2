import BlockStorage
import ExtOracle
import FixtureKit
import Introspection
import Testing

/// Introspection sees in every fixture what libext2fs sees, block by block.
@Suite(.enabled(if: Fixture.canBeMade, "fixtures are aged through loop mounts, which takes root"))
struct ClassMapTests {
    @Test(arguments: Fixture.all)
    func classesAndOwnersAreThoseOfLibext2fs(_ fixture: Fixture) throws {
        let image = try fixture.image()
        let list = try RunList(scanning: image.path)
        for volume in image.volumes {
            let oracle = try ExtOracle(path: volume.path)
            var comparison = Comparison(oracle: oracle, runs: RunList.Cursor(list))
            for extent in volume.extents {
                comparison.compare(extent)
            }
            #expect(comparison.comparedBlocks == oracle.classes.count)
            #expect(comparison.differences == 0, "\(volume.name): \(comparison.report)")
        }
    }

    @Test(arguments: Fixture.all.filter(\.hasContainer))
    func structuresAroundVolumesAreWhereTheToolsPutThem(_ fixture: Fixture) throws {
        let image = try fixture.image()
        let list = try RunList(scanning: image.path)
        var cursor = RunList.Cursor(list)
        for structure in image.structures {
            cursor.forEachRun(in: ByteRange(offset: structure.offset, length: structure.length)) { run in
                #expect(run.blockClass.name == structure.className, "\(run.range)")
            }
        }
        var end = 0
        let occupied = image.volumes.flatMap(\.extents).sorted { $0.diskOffset < $1.diskOffset }
        let diskSize = list.runs.last?.range.end ?? 0
        for (start, next) in occupied.map({ ($0.diskOffset, $0.diskOffset + $0.length) }) + [(diskSize, diskSize)] {
            cursor.forEachRun(in: ByteRange(offset: end, length: start - end)) { run in
                #expect(ClassMapping.outsideFileSystems.contains(run.blockClass), "\(run.range)")
            }
            end = next
        }
    }
}

/// Compares what introspection says of a volume with what the oracle says, and keeps the first differences.
private struct Comparison {
    let oracle: ExtOracle
    var runs: RunList.Cursor
    private(set) var comparedBlocks = 0
    private(set) var differences = 0
    private var lines: [String] = []

    init(oracle: ExtOracle, runs: RunList.Cursor) {
        self.oracle = oracle
        self.runs = runs
    }

    var report: String {
        "\(differences) blocks differ, the first:\nblock: ours (inode), the oracle's (inode)\n"
            + lines.joined(separator: "\n")
    }

    /// Compares the blocks of a piece of the volume; after the file system's last block nothing is known.
    mutating func compare(_ extent: FixtureImage.Extent) {
        let blockSize = oracle.blockSize
        for offset in stride(from: 0, to: extent.length, by: blockSize) {
            let block = (extent.volumeOffset + offset) / blockSize
            let range = ByteRange(
                offset: extent.diskOffset + offset, length: min(blockSize, extent.length - offset))
            var found: [RunList.Run] = []
            runs.forEachRun(in: range) { found.append($0) }
            if block < oracle.classes.count {
                comparedBlocks += 1
                let allowed = ClassMapping.classes(of: oracle.classes[block])
                let isRight = found.allSatisfy {
                    allowed.contains($0.blockClass) && ClassMapping.isOwner($0.owner, of: block, in: oracle)
                }
                if !isRight { note(found, block, "\(oracle.classes[block]) (\(oracle.owners[block]))") }
            } else if found.contains(where: { $0.blockClass != .unknown || $0.owner != nil }) {
                note(found, block, "after the file system")
            }
        }
    }

    private mutating func note(_ found: [RunList.Run], _ block: Int, _ expected: String) {
        differences += 1
        guard lines.count < 20 else { return }
        let ours = found.map { "\($0.blockClass.name) (\($0.owner.map(String.init) ?? "-"))" }
        lines.append("\(block): \(ours.joined(separator: ", ")), \(expected)")
    }
}
