import Foundation
import TestTools
import Testing

private func overwrite(_ path: String, at offset: Int, with bytes: [UInt8]) throws {
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    defer { try? handle.close() }
    try handle.seek(toOffset: UInt64(offset))
    try handle.write(contentsOf: Data(bytes))
}

@Suite struct CommandTests {
    private func withImage(_ body: (String) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            let image = directory + "/disk.img"
            try FileManager.default.createDirectory(
                atPath: directory + "/tree/etc", withIntermediateDirectories: true)
            try Data(repeating: 7, count: 100_000).write(to: URL(fileURLWithPath: directory + "/tree/etc/passwd"))
            try runTool(
                "mke2fs",
                ["-q", "-F", "-t", "ext3", "-b", "4096", "-L", "guest", "-d", directory + "/tree", image, "160M"])
            try body(image)
        }
    }

    @Test func summaryTellsFileSystemAndClasses() throws {
        try withImage { image in
            let outcome = try introspectScan([image])
            #expect(outcome.status == 0)
            #expect(outcome.errors == "")
            for word in [
                "raw image", "ext3", "label guest", "has_journal", "inode-table", "journal", "clean", "reads",
                "Files: 1 regular, 3",
            ] {
                #expect(outcome.output.contains(word), "\(word) is missing in \(outcome.output)")
            }
            let json = try introspectScan(["summary", "--json", image])
            let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
            let classes = try #require(object?["classes"] as? [[String: Any]])
            #expect(classes.reduce(0) { $0 + ($1["bytes"] as? Int ?? 0) } == 160 << 20)
        }
    }

    @Test func runsAreSortedGaplessAndTheSameAsJSON() throws {
        try withImage { image in
            let outcome = try introspectScan(["runs", image])
            #expect(outcome.status == 0)
            let lines = outcome.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
            var end = 0
            for line in lines {
                #expect(line.count == 4)
                #expect(line[0] == "\(end)")
                end += try #require(Int(line[1]))
            }
            #expect(end == 160 << 20)
            let json = try introspectScan(["runs", "--json", image])
            let array = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [[String: Any]] ?? []
            let relined = array.map { run in
                [
                    "\(run["offset"] as? Int ?? -1)", "\(run["length"] as? Int ?? -1)", run["class"] as? String ?? "",
                    (run["owner"] as? Int).map { "\($0)" } ?? "-",
                ]
            }
            #expect(relined == lines)
        }
    }

    /// A volume from byte 0 and a sector 0 that counts as a boot record share bytes: the sector is a partition table, and
    /// all the rest the file system's.
    @Test func aFileSystemBehindABootRecordIsTold() throws {
        try withTemporaryDirectory { directory in
            let image = directory + "/disk.img"
            for options in [["-b", "1024"], ["-b", "4096"]] {
                try runTool("mke2fs", ["-q", "-F", "-t", "ext4"] + options + [image, "8M"])
                let copy = directory + "/copy.img"
                try overwrite(image, at: 510, with: [0x55, 0xAA])
                var bytes: [String: Int] = [:]
                for line in try introspectScan(["runs", image]).output.split(separator: "\n") {
                    let words = line.split(separator: " ").map(String.init)
                    bytes[words[2], default: 0] += try #require(Int(words[1]))
                }
                let json = try introspectScan(["--json", image])
                let object = try JSONSerialization.jsonObject(with: json.bytes) as? [String: Any]
                let classes = try #require(object?["classes"] as? [[String: Any]])
                let expected = classes.map { ($0["class"] as? String ?? "", $0["bytes"] as? Int ?? -1) }
                #expect(bytes == Dictionary(expected, uniquingKeysWith: +))
                #expect(bytes["partition-table"] == 512)
                #expect(bytes["inode-table"] ?? 0 > 100_000)
                try runTool("cp", [image, copy])
                try runTool("debugfs", ["-w", "-R", "mkdir /new", copy])
                let difference = try introspectScan(["diff", image, copy])
                #expect(difference.output.contains("inode-table") && difference.output.contains("directory"))
            }
        }
    }

    /// An MBR does not say how large its sectors are: what begins where they would put a partition does, and an option.
    @Test func sectorsOf4096BytesAreFoundAndTakenByOption() throws {
        try withTemporaryDirectory { directory in
            let image = directory + "/disk.img"
            try makeSparseFile(image, size: 256 << 20)
            try withLoopDevices(image, parts: [(0, 256 << 20)], sectorSize: 4096) { devices in
                _ = try runTool("sfdisk", ["-q", devices[0]], input: "label: dos\n256,8192\n8448,8192,E\n8960,4096\n")
            }
            // Where the partitions begin, in bytes.
            for offset in [1 << 20, 35 << 20] {
                try runTool("mke2fs", ["-q", "-F", "-t", "ext4", "-E", "offset=\(offset)", image, "16M"])
            }
            let plain = try introspectScan([image])
            #expect(plain.status == 1)
            #expect(plain.errors.contains("counts in sectors of 4096 bytes"))
            #expect(plain.output.components(separatedBy: "ext4,").count == 3)
            let told = try introspectScan([image, "--sector-size", "4096"])
            #expect(told.status == 0, "\(told.errors)")
            #expect(told.output.contains("sectors of 4096 bytes"))
            #expect(told.output.components(separatedBy: "ext4,").count == 3)
            for command in [["ls"], ["cat", "--inode", "8"], ["explain", "--path", "/lost+found"]] {
                let words = command + ["--sector-size", "4096", "--volume", "partition 5", image]
                #expect(try introspectScan(words).status == 0, "\(words)")
            }
            let runs = try introspectScan(["runs", "--sector-size", "4096", image])
            #expect(runs.output.contains("inode-table"))
            #expect(try introspectScan(["diff", "--sector-size", "4096", image, image]).status == 0)
            #expect(try introspectScan([image, "--sector-size", "1024"]).status == 64)
            let wrong = directory + "/512.img"
            try makeSparseFile(wrong, size: 64 << 20)
            try runTool("sfdisk", ["-q", wrong], input: "label: dos\n2048,\n")
            try runTool("mke2fs", ["-q", "-F", "-t", "ext4", "-E", "offset=1048576", wrong, "16M"])
            #expect(try introspectScan([wrong]).status == 0)
            #expect(!(try introspectScan([wrong, "--sector-size", "4096"]).output.contains("ext4,")))
        }
    }

    /// A disk may be said to be as large as a number can be: what is on it is told at once.
    @Test func aDiskMuchLargerThanWhatIsOnItIsTold() throws {
        try withTemporaryDirectory { directory in
            let (flat, image) = (directory + "/part-flat.vmdk", directory + "/huge.vmdk")
            try runTool("mke2fs", ["-q", "-F", "-t", "ext4", flat, "16M"])
            // The largest disk that is looked into.
            let rest = ((1 << 49) - (16 << 20)) / 512
            let lines = [
                "# Disk DescriptorFile", "version=1", "createType=\"monolithicFlat\"",
                "RW 32768 FLAT \"part-flat.vmdk\" 0", "RW \(rest) ZERO",
            ]
            try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: image))
            let alone = try introspectScan(["runs", flat]).output.split(separator: "\n")
            let runs = try introspectScan(["runs", image])
            #expect(runs.status == 0, "\(runs.errors)")
            #expect(runs.output.split(separator: "\n") == alone + ["16777216 \(rest * 512) unknown -"])
            let difference = try introspectScan(["diff", image, image])
            #expect(difference.status == 0, "\(difference.errors)")
            let map = try introspectScan(["map", image, "-o", directory + "/map.png", "--json"])
            #expect(map.status == 0, "\(map.errors)")
            #expect(try introspectScan(["--json", image]).status == 0)
        }
    }

    @Test func explainNamesTheFile() throws {
        try withImage { image in
            let block = try runTool("debugfs", ["-R", "bmap /etc/passwd 3", image])
            let offset = try #require(Int(block.trimmingCharacters(in: .whitespacesAndNewlines))) * 4096
            for text in ["\(offset)", "0x\(String(offset, radix: 16))", "\(offset / 1024)K"] {
                let outcome = try introspectScan(["explain", image, "--offset", text])
                #expect(outcome.status == 0)
                #expect(outcome.output.contains("/etc/passwd"))
                #expect(outcome.output.contains("at byte 12288"))
            }
            #expect(try introspectScan(["explain", image, "--offset", "160M"]).status == 2)
            #expect(try introspectScan(["explain", image, "--offset", "-1"]).status == 64)
        }
    }

    @Test func whatCannotBeReadIsNamedInOneLine() throws {
        try withTemporaryDirectory { directory in
            try Data().write(to: URL(fileURLWithPath: directory + "/empty"))
            try Data([0x51, 0x46, 0x49, 0xFB] + [UInt8](repeating: 0, count: 70_000))
                .write(to: URL(fileURLWithPath: directory + "/some.qcow2"))
            for (path, cause) in [
                ("/missing", "No such file"), ("", "neither a regular file"), ("/empty", "empty"),
                ("/some.qcow2", "qcow2"),
            ] {
                for command in [[], ["runs"], ["explain", "--offset", "0"]] {
                    let outcome = try introspectScan(command + [directory + path])
                    #expect(outcome.status == 2)
                    #expect(outcome.output == "")
                    #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
                    #expect(outcome.errors.lowercased().contains(cause.lowercased()), "\(outcome.errors)")
                    #expect(outcome.errors.contains(directory + path))
                }
            }
        }
    }

    @Test func damageIsReportedWithPlaceAndExpectation() throws {
        try withImage { image in
            try overwrite(image, at: 1024 + 24, with: [99, 0, 0, 0])
            var outcome = try introspectScan(["runs", image])
            #expect(outcome.status == 1)
            #expect(
                outcome.errors.contains("offset 1024: superblock: s_log_block_size at byte 24 is 99, expected 0 to 6"))
            #expect(outcome.errors.contains("a backup at offset 134217728"))
            try overwrite(image, at: 1024 + 56, with: [0, 0])
            outcome = try introspectScan(["runs", image])
            #expect(outcome.status == 1)
            #expect(outcome.errors.contains("a backup at offset 134217728"))
        }
        try withImage { image in
            #expect(truncate(image, 100 << 20) == 0)
            let outcome = try introspectScan(["runs", image])
            #expect(outcome.status == 1)
            #expect(outcome.errors.contains("s_blocks_count at byte 4 is 40960, expected at most 25600 blocks"))
        }
    }
}
