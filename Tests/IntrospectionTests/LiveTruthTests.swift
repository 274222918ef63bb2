import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// The live map after a guest's writes equals a fresh scan, however the writes are cut and ordered.
@Suite(.serialized) struct LiveTruthTests {
    /// What a guest does, in `debugfs`'s words; `small` and `big` are files to write, `steps` divide the work.
    private static func workload(small: String, big: String) -> [[String]] {
        let names = (0..<400).map { "write \(small) /new/a long name to fill the directory quickly \($0)" }
        return [
            ["mkdir /new", "mkdir /new/sub", "symlink /new/link \(String(repeating: "y/", count: 60))"]
                + names.prefix(200) + ["write \(big) /new/big"],
            names.dropFirst(200) + ["rm /deep/dense", "rm /deep/sparse", "rm /deep/er/long"],
            (0..<300).map { "rm \"/many/a file with a name long enough to need blocks \($0)\"" }
                + ["write \(big) /new/second", "mkdir /again", "write \(big) /again/third"],
            ["rm /new/big", "ln /new/second /hard", "rmdir /new/sub", "write \(big) /again/fourth"]
                + (0..<100).map { "rm \"/new/a long name to fill the directory quickly \($0)\"" }
                + (0..<60).map { "write \(small) /again/\($0)" },
        ]
    }

    /// The image before, and after each step.
    private static func stages(_ recipe: ImageRecipe) throws -> [DiskBytes] {
        var recipe = recipe
        if recipe.size == "300M" { recipe.size = "160M" }
        return try withImage(recipe) { image in
            let small = image + ".small"
            let big = image + ".big"
            try Data(repeating: 7, count: 3000).write(to: URL(fileURLWithPath: small))
            _ = FileManager.default.createFile(atPath: big, contents: nil)
            let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: big))
            // Pieces apart, so that extents and indirect blocks are needed.
            for index in 0..<400 {
                try handle.seek(toOffset: UInt64(index * 3 * recipe.blockSize))
                try handle.write(contentsOf: Data(repeating: UInt8(index & 127 | 1), count: recipe.blockSize))
            }
            try handle.close()
            var stages = [try DiskBytes(file: image)]
            for step in workload(small: small, big: big) {
                let script = image + ".script"
                let quoted = step.map { line -> String in
                    guard line.hasPrefix("write "), let space = line.firstIndex(of: "/") else { return line }
                    let parts = line[space...].split(separator: " ", maxSplits: 1)
                    return "write \(parts[0]) \"\(parts[1])\""
                }
                try Data((quoted.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: script))
                try runTool("debugfs", ["-w", "-f", script, image])
                stages.append(try DiskBytes(file: image))
            }
            return stages
        }
    }

    @Test(arguments: ImageRecipe.all)
    func liveMapEqualsAFreshScan(_ recipe: ImageRecipe) throws {
        let stages = try Self.stages(recipe)
        for seed in UInt64(1)...6 {
            var random = SplitMix64(seed: seed)
            var world = try LiveWorld(stages[0])
            // Some runs skip stages, so that one replay holds more.
            let targets = seed % 2 == 0 ? Array(stages.dropFirst()) : [stages[stages.count - 1]]
            for (number, target) in targets.enumerated() {
                let unit = [512, 1024, recipe.blockSize, 4096][Int(seed) % 4]
                let digestEvery = [1_000_000, 200, 40, 7][Int(seed) % 4]
                try world.replay(to: target, unit: unit, digestEvery: digestEvery, &random)
                #expect(!world.outcome.needsRescan, "seed \(seed): \(world.introspector.status.staleReason ?? "")")
                #expect(try world.differences() == [], "seed \(seed), stage \(number), unit \(unit)")
            }
            #expect(world.introspector.status.undigestedBlocks == 0)
        }
    }
}
