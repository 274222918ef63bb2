import Foundation
import TestTools
import Testing

/// `ls`, `cat` and `explain` of guest paths, against what was put there and what debugfs says.
@Suite struct GuestFileTests {
    private static let fileSystems: [[String]] = [
        ["-t", "ext2", "-b", "1024"], ["-t", "ext3", "-b", "2048"], ["-t", "ext4", "-b", "4096"],
        ["-t", "ext4", "-b", "1024", "-O", "inline_data"], ["-t", "ext4", "-b", "1024", "-O", "^extent,^64bit"],
    ]

    /// Bytes of which no two blocks are alike.
    private static let large = (0..<300_000).map { "\($0 + 1_000_000_000)" }.joined().utf8

    private func withImage(_ options: [String], _ body: (_ image: String, _ tree: String) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            let (image, tree) = (directory + "/disk.img", directory + "/tree")
            let manager = FileManager.default
            try manager.createDirectory(atPath: tree + "/etc/many", withIntermediateDirectories: true)
            func put(_ name: String, _ bytes: some Sequence<UInt8>) throws {
                try Data(bytes).write(to: URL(fileURLWithPath: "\(tree)/\(name)"))
                chmod("\(tree)/\(name)", 0o644)
            }
            // Whatever the process's mask is: it belongs to all tests.
            for name in ["etc", "etc/many"] { chmod("\(tree)/\(name)", 0o755) }
            try put("etc/hostname", "guest\n".utf8)
            try put("etc/inline", (0..<150).map { UInt8($0) })
            try put("large", Self.large)
            for number in 0..<300 { try put("etc/many/file-\(number)", "\(number)".utf8) }
            #expect(mknod(tree + "/hole", S_IFREG | 0o600, 0) == 0)
            let handle = try #require(FileHandle(forWritingAtPath: tree + "/hole"))
            try handle.seek(toOffset: 7_000_000)
            try handle.write(contentsOf: Data("end".utf8))
            try handle.close()
            for (name, target) in [
                ("short", "large"), ("etc/up", "../large"), ("etc/root", "/etc/hostname"), ("loop", "loop"),
                ("long", String(repeating: "./", count: 60) + "etc/hostname"),
            ] {
                try manager.createSymbolicLink(atPath: "\(tree)/\(name)", withDestinationPath: target)
            }
            try runTool("mke2fs", ["-q", "-F", "-d", tree] + options + [image, "64M"])
            try body(image, tree)
        }
    }

    @Test(arguments: fileSystems) func catIsWhatWasPutThere(options: [String]) throws {
        try withImage(options) { image, tree in
            for (path, source) in [
                ("/etc/hostname", "etc/hostname"), ("etc//./inline", "etc/inline"), ("/large", "large"),
                ("/hole", "hole"), ("/short", "large"), ("/etc/up", "large"), ("/etc/root", "etc/hostname"),
                ("/long", "etc/hostname"), ("/etc/../large", "large"), ("/etc/many/file-299", "etc/many/file-299"),
            ] {
                let outcome = try introspectScan(["cat", image, path])
                #expect(outcome.status == 0, "\(path): \(outcome.errors)")
                #expect(outcome.bytes == (try Data(contentsOf: URL(fileURLWithPath: "\(tree)/\(source)"))), "\(path)")
            }
        }
    }

    @Test(arguments: fileSystems) func listNamesWhatIsThere(options: [String]) throws {
        try withImage(options) { image, tree in
            let outcome = try introspectScan(["ls", image, "/etc/many", "--json"])
            let lines = try #require(try JSONSerialization.jsonObject(with: outcome.bytes) as? [[String: Any]])
            let names = try FileManager.default.contentsOfDirectory(atPath: tree + "/etc/many").sorted()
            #expect(lines.compactMap { $0["name"] as? String } == names)
            #expect(lines.allSatisfy { $0["mode"] as? String == "-rw-r--r--" })
            for line in lines.prefix(3) {
                let name = try #require(line["name"] as? String)
                let stat = try runTool("debugfs", ["-R", "stat /etc/many/\(name)", image])
                #expect(stat.contains("Inode: \(line["inode"] ?? "none") "))
            }
            let text = try introspectScan(["ls", image, "etc"])
            #expect(text.output.contains(" root -> /etc/hostname\n"))
            #expect(text.output.contains(" drwxr-xr-x "))
        }
    }

    @Test(arguments: fileSystems) func explainOfAPathIsTheOtherWayRound(options: [String]) throws {
        try withImage(options) { image, _ in
            let outcome = try introspectScan(["explain", image, "--path", "/large", "--json"])
            let object = try JSONSerialization.jsonObject(with: outcome.bytes) as? [String: Any]
            let places = try #require(object?["places"] as? [[String: Any]])
            let data = places.filter { $0["class"] as? String == "data" }
            #expect(data.reduce(0) { $0 + ($1["length"] as? Int ?? 0) } >= 3_000_000)
            for place in places.prefix(8) {
                let offset = try #require(place["offset"] as? Int)
                let back = try introspectScan(["explain", image, "--offset", "\(offset)", "--json"])
                let found = try JSONSerialization.jsonObject(with: back.bytes) as? [String: Any]
                #expect(found?["class"] as? String == place["class"] as? String)
                if place["class"] as? String != "inode-table" { #expect(found?["path"] as? String == "/large") }
                #expect(found?["fileOffset"] as? Int == place["fileOffset"] as? Int)
            }
            let inode = try #require(object?["inode"] as? Int)
            let same = try introspectScan(["explain", image, "--inode", "\(inode)", "--json"])
            #expect(same.bytes == outcome.bytes)
        }
    }

    @Test func whatIsNotThereIsNamed() throws {
        try withImage(["-t", "ext4"]) { image, _ in
            for (arguments, complaint) in [
                (["cat", image, "/nothing"], "/nothing: there is no nothing"),
                (["cat", image, "/etc/hostname/x"], "x is not in a directory"),
                (["cat", image, "/etc"], "/etc is a directory, expected a regular file"),
                (["cat", image, "/loop"], "more than 40 symbolic links"),
                (["ls", image, "--volume", "vg/root"], "no file system on a volume vg/root; there are: disk"),
                (["explain", image, "--inode", "4000000"], "there is no inode 4000000, expected 1 to"),
                (["explain", image, "--inode", "16000"], "inode 16000"),
            ] {
                let outcome = try introspectScan(arguments)
                #expect(outcome.status == 2, "\(arguments)")
                #expect(outcome.output == "")
                #expect(outcome.errors.contains(complaint), "\(outcome.errors)")
            }
        }
    }

    @Test func oneOfSeveralFileSystemsIsChosen() throws {
        try withTemporaryDirectory { directory in
            let image = directory + "/disk.img"
            try makeSparseFile(image, size: 64 << 20)
            try runTool("sfdisk", ["-q", image], input: "label: gpt\n2048,32768\n,\n")
            for (number, (start, kibibytes)) in [(2048, 16384), (34816, 40000)].enumerated() {
                let tree = "\(directory)/\(number)"
                try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
                try Data("\(number)".utf8).write(to: URL(fileURLWithPath: tree + "/name"))
                try runTool(
                    "mke2fs",
                    ["-q", "-F", "-t", "ext4", "-d", tree, "-E", "offset=\(start * 512)", image, "\(kibibytes)"])
            }
            let unclear = try introspectScan(["cat", image, "/name"])
            #expect(unclear.status == 2)
            #expect(unclear.errors.contains("choose one with --volume: partition 1, partition 2"))
            for number in 0...1 {
                let outcome = try introspectScan(["cat", image, "/name", "--volume", "partition \(number + 1)"])
                #expect(outcome.output == "\(number)")
            }
        }
    }
}
