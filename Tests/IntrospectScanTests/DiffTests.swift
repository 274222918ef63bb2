import Foundation
import TestTools
import Testing

@Suite struct DiffTests {
    private func withImages(_ body: (_ before: String, _ after: String) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            let (before, after) = (directory + "/before.img", directory + "/after.img")
            let tree = directory + "/tree"
            try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
            try Data(repeating: 7, count: 1_000_000).write(to: URL(fileURLWithPath: tree + "/gone"))
            try runTool("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-d", tree, before, "32M"])
            try FileManager.default.copyItem(atPath: before, toPath: after)
            try runTool("debugfs", ["-w", "-R", "rm /gone", after])
            try body(before, after)
        }
    }

    @Test func bytesThatDifferAreToldByClass() throws {
        try withImages { before, after in
            let outcome = try introspectScan(["diff", before, after, "--json"])
            #expect(outcome.status == 3)
            let object = try JSONSerialization.jsonObject(with: outcome.bytes) as? [String: Any]
            let runs = try #require(object?["runs"] as? [[String: Any]])
            let (old, new) = (
                try Data(contentsOf: URL(fileURLWithPath: before)), try Data(contentsOf: URL(fileURLWithPath: after))
            )
            var different = Set<Int>()
            for sector in 0..<old.count / 512
            where old[sector * 512..<sector * 512 + 512] != new[sector * 512..<sector * 512 + 512] {
                different.insert(sector)
            }
            var told = Set<Int>()
            for run in runs {
                let offset = try #require(run["offset"] as? Int)
                told.formUnion(offset / 512..<(offset + (run["length"] as? Int ?? 0)) / 512)
            }
            #expect(told == different)
            let classes = Set(runs.compactMap { $0["after"] as? String })
            #expect(classes.isSuperset(of: ["superblock", "block-bitmap", "inode-bitmap", "inode-table"]))
            #expect(!classes.contains("data"))
        }
    }

    /// Holes are not read: neither where both disks have them, nor where one has.
    @Test func holesAreComparedWithoutReadingThem() throws {
        try withTemporaryDirectory { directory in
            let (before, after) = (directory + "/before.img", directory + "/after.img")
            // 4 TiB take half an hour to read.
            for path in [before, after] { try makeSparseFile(path, size: 4 << 40) }
            let sector = [UInt8](repeating: 7, count: 512)
            func put(_ bytes: [UInt8], _ offset: Int, _ path: String) throws {
                let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
                try handle.seek(toOffset: UInt64(offset))
                try handle.write(contentsOf: Data(bytes))
                try handle.close()
            }
            // Alike in both; zeros in one and a hole in the other; in one alone, over a hole; different in both.
            for path in [before, after] { try put(sector, 1 << 30, path) }
            try put([UInt8](repeating: 0, count: 3 << 20), 1 << 40, before)
            try put(sector + sector, (2 << 40) + 512, after)
            try put(sector, (4 << 40) - 512, before)
            try put([UInt8](repeating: 8, count: 512), (4 << 40) - 512, after)
            try put(sector, (3 << 40) + 1024, before)
            let outcome = try introspectScan(["diff", before, after, "--runs"])
            #expect(outcome.status == 3)
            let places = outcome.output.split(separator: "\n").map {
                $0.split(separator: " ").prefix(2).joined(separator: " ")
            }
            #expect(places == ["\((2 << 40) + 512) 1024", "\((3 << 40) + 1024) 512", "\((4 << 40) - 512) 512"])
        }
    }

    @Test func listingsTellWhatChangedItsClass() throws {
        try withImages { before, after in
            let listing = before + ".runs"
            try introspectScan(["runs", before]).bytes.write(to: URL(fileURLWithPath: listing))
            let outcome = try introspectScan(["diff", listing, after, "--runs"])
            #expect(outcome.status == 3)
            let lines = outcome.output.split(separator: "\n").map { $0.split(separator: " ") }
            #expect(
                lines.filter { $0[2] == "data" && $0[3] == "free" }.reduce(0) { $0 + (Int($1[1]) ?? 0) } == 1_003_520)
            #expect(lines.allSatisfy { $0[2] != $0[3] || $0[4] != $0[5] })
            let same = try introspectScan(["diff", listing, before])
            #expect(same.status == 0)
            #expect(same.output.contains("differs: 0 (0 bytes)"))
            try Data("0 4096 data -\n5000 4096 data -\n".utf8).write(to: URL(fileURLWithPath: listing))
            let broken = try introspectScan(["diff", listing, before])
            #expect(broken.status == 2)
            #expect(broken.errors.contains("line 2: expected OFFSET LENGTH CLASS OWNER without a gap"))
        }
    }
}
