import ExtOracle
import FixtureKit
import Foundation
import TestTools
import Testing

/// The fixtures are what the matrix promises, and the oracle agrees with the tools beside it.
@Suite(.enabled(if: Fixture.canBeMade, "fixtures are aged through loop mounts, which takes root"))
struct FixtureTests {
    @Test(arguments: Fixture.all)
    func isClean(_ fixture: Fixture) throws {
        for volume in try fixture.image().volumes {
            try runTool("e2fsck", ["-fn", "-E", "no_optimize_extents", volume.path])
        }
    }

    @Test(arguments: Fixture.all)
    func oracleCountsAsDumpe2fs(_ fixture: Fixture) throws {
        for volume in try fixture.image().volumes {
            let oracle = try ExtOracle(path: volume.path)
            let header = try runTool("dumpe2fs", ["-h", volume.path])
            #expect(oracle.classes.count == Self.number("Block count", in: header))
            #expect(oracle.blockSize == Self.number("Block size", in: header))
            let free = oracle.classes.count { $0 == .free }
            #expect(free == Self.number("Free blocks", in: header))
        }
    }

    /// debugfs names an owner for every block: a sample, evenly spread over the blocks in use.
    @Test(arguments: Fixture.all)
    func oracleOwnersAreThoseOfDebugfs(_ fixture: Fixture) throws {
        for volume in try fixture.image().volumes {
            let oracle = try ExtOracle(path: volume.path)
            let owned = oracle.owners.indices.filter { oracle.owners[$0] != 0 && oracle.classes[$0] != .bad }
            let sample = stride(from: 0, to: owned.count, by: max(1, owned.count / 500)).map { owned[$0] }
            let request = "icheck " + sample.map(String.init).joined(separator: " ")
            let answer = try runTool("debugfs", ["-R", request, volume.path])
            var owners: [Int: UInt32] = [:]
            for line in answer.split(separator: "\n") {
                let columns = line.split(separator: "\t")
                if columns.count == 2, let block = Int(columns[0]), let inode = UInt32(columns[1]) {
                    owners[block] = inode
                }
            }
            let differing = sample.filter { !oracle.isOwner(owners[$0] ?? 0, of: $0) }
            #expect(differing.isEmpty, "\(differing.prefix(10).map { ($0, owners[$0], oracle.owners[$0]) })")
        }
    }

    private static func number(_ label: String, in text: String) -> Int? {
        text.split(separator: "\n").first { $0.hasPrefix("\(label):") }
            .flatMap { Int($0.dropFirst(label.count + 1).trimmingCharacters(in: .whitespaces)) }
    }
}
