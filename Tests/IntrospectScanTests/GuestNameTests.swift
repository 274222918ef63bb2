import Foundation
import TestTools
import Testing

/// Names that are no text, that are encrypted, and that are the same but for case.
@Suite struct GuestNameTests {
    /// Names as bash writes them, and as the command shows them.
    private static let names = [
        (#"caf\xe9"#, #"caf\xE9"#), (#"caf\xe8"#, #"caf\xE8"#), (#"\\xE9"#, #"\\xE9"#),
        (#"back\\slash"#, #"back\\slash"#),
        (#"a\nb\x1b[31m"#, #"a\x0Ab\x1B[31m"#), (#"\xe2\x80\xaegpj.exe"#, #"\xE2\x80\xAEgpj.exe"#), ("größe", "größe"),
    ]

    /// An image with a file of each name, which holds what is shown of it, in a directory `dir\xff`.
    private func withImage(_ body: (_ image: String, _ directory: String) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            let image = directory + "/disk.img"
            let commands = Self.names.map { "printf %s '\($0.1)' > $'\(directory)/tree/dir\\xff/\($0.0)'" }
            try runTool(
                "bash", ["-c", (["mkdir -p $'\(directory)/tree/dir\\xff'"] + commands).joined(separator: " && ")])
            try runTool("mke2fs", ["-q", "-F", "-t", "ext4", "-d", directory + "/tree", image, "16M"])
            try body(image, directory)
        }
    }

    @Test func namesThatAreNoTextAreToldApartAndFound() throws {
        try withImage { image, _ in
            let directory = #"/dir\xFF"#
            let text = try introspectScan(["ls", image, directory])
            let lines = text.output.split(separator: "\n")
            #expect(lines.count == Self.names.count)
            for (typed, shown) in Self.names {
                #expect(lines.count(where: { $0.hasSuffix(" \(shown)") }) == 1, "\(shown)")
                let outcome = try introspectScan(["cat", image, "\(directory)/\(shown)"])
                #expect(outcome.status == 0 && outcome.output == shown, "\(shown): \(outcome.errors)")
                let raw = try runTool("bash", ["-c", "\(introspectScanPath) cat \(image) $'/dir\\xff/\(typed)'"])
                #expect(raw == shown)
            }
            // A backslash by itself is what it is.
            #expect(try introspectScan(["cat", image, directory + #"/back\slash"#]).status == 0)
            let missing = try introspectScan(["cat", image, directory + #"/caf\xEA"#])
            #expect(missing.status == 2)
            #expect(missing.errors.contains(#"there is no caf\xEA"#))
        }
    }

    @Test func jsonHasTheBytesOfWhatIsNoText() throws {
        try withImage { image, _ in
            let outcome = try introspectScan(["ls", image, "-r", "--json"])
            let lines = try #require(try JSONSerialization.jsonObject(with: outcome.bytes) as? [[String: Any]])
            let latin = try #require(lines.first { $0["name"] as? String == #"dir\xFF/caf\xE9"# })
            #expect(latin["nameBytes"] as? String == "646972ff2f636166e9")
            let modified = try #require(latin["modified"] as? Int)
            #expect(abs(Date().timeIntervalSince1970 - Double(modified)) < 86_400, "in seconds since 1970")
            let inode = try #require(latin["inode"] as? Int)
            #expect(try introspectScan(["cat", image, "--inode", "\(inode)"]).output == #"caf\xE9"#)
            let listed = try introspectScan(["ls", image, "--inode", "\(inode)"])
            #expect(listed.output.hasSuffix(" inode \(inode)\n"))
            let short = try introspectScan(["ls", image, #"/dir\xFF"#, "--json"])
            let names = try #require(try JSONSerialization.jsonObject(with: short.bytes) as? [[String: Any]])
            let plain = try #require(names.first { $0["name"] as? String == "größe" })
            #expect(plain["nameBytes"] == nil)
            let places = try introspectScan(["explain", image, "--path", #"dir\xFF/caf\xE9"#, "--json"])
            let object = try JSONSerialization.jsonObject(with: places.bytes) as? [String: Any]
            let place = try #require((object?["places"] as? [[String: Any]])?.last)
            let offset = try #require(place["offset"] as? Int)
            let back = try introspectScan(["explain", image, "--offset", "\(offset)", "--json"])
            let found = try JSONSerialization.jsonObject(with: back.bytes) as? [String: Any]
            #expect(found?["path"] as? String == #"/dir\xFF/caf\xE9"#)
            #expect(found?["pathBytes"] as? String == "2f646972ff2f636166e9")
            #expect(try introspectScan(["cat", image]).status == 64)
            #expect(try introspectScan(["cat", image, "/x", "--inode", "12"]).status == 64)
            #expect(try introspectScan(["cat", image, "--inode", "2"]).errors.contains("inode 2 is a directory"))
        }
    }

    @Test func whatIsEncryptedIsRefusedAndSaidToBe() throws {
        try withTemporaryDirectory { directory in
            let (image, tree) = (directory + "/disk.img", directory + "/tree")
            try FileManager.default.createDirectory(atPath: tree + "/vault", withIntermediateDirectories: true)
            try Data(repeating: 7, count: 5000).write(to: URL(fileURLWithPath: tree + "/vault/secret"))
            try FileManager.default.createSymbolicLink(atPath: tree + "/vault/link", withDestinationPath: "secret")
            try runTool("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "encrypt", "-d", tree, image, "16M"])
            for (path, flags) in [("/vault/link", "0x800"), ("/vault/secret", "0x80800"), ("/vault", "0x80800")] {
                try runTool("debugfs", ["-w", "-R", "set_inode_field \(path) flags \(flags)", image])
            }
            for options in [[], ["--json"]] {
                let outcome = try introspectScan(["cat", image, "/vault/secret"] + options)
                #expect(outcome.status == 2)
                #expect(outcome.output == "")
                #expect(outcome.errors.contains("is encrypted"))
            }
            #expect(try introspectScan(["cat", image, "/vault/link"]).errors.contains("target is encrypted"))
            let list = try introspectScan(["ls", image, "/vault"])
            #expect(list.status == 0)
            #expect(list.output.contains(" secret (encrypted name)\n"))
            #expect(list.output.contains(" link (encrypted name)\n"))
            #expect(try introspectScan(["ls", image]).output.contains(" vault (encrypted)\n"))
            let json = try introspectScan(["ls", image, "/vault", "--json"])
            let lines = try #require(try JSONSerialization.jsonObject(with: json.bytes) as? [[String: Any]])
            #expect(lines.allSatisfy { $0["encrypted"] as? Bool == true && $0["encryptedName"] as? Bool == true })
            #expect(lines.allSatisfy { $0["target"] == nil })
            // Where it is can be told all the same.
            #expect(try introspectScan(["explain", image, "--path", "/vault/secret"]).status == 0)
        }
    }

    @Test func aDirectoryThatIgnoresCaseIsLookedUpSo() throws {
        try withTemporaryDirectory { directory in
            let (image, tree) = (directory + "/disk.img", directory + "/tree")
            for folder in ["any", "exact"] {
                try FileManager.default.createDirectory(
                    atPath: "\(tree)/\(folder)/Sub", withIntermediateDirectories: true)
                for name in ["Straße", "caf\u{E9}"] {
                    try Data(name.utf8).write(to: URL(fileURLWithPath: "\(tree)/\(folder)/Sub/\(name)"))
                }
            }
            let options = ["-t", "ext4", "-O", "casefold,^metadata_csum", "-E", "encoding=utf8"]
            try runTool("mke2fs", ["-q", "-F"] + options + ["-d", tree, image, "16M"])
            for path in ["/any", "/any/Sub"] {
                try runTool("debugfs", ["-w", "-R", "set_inode_field \(path) flags 0x40080000", image])
            }
            for (path, contents) in [
                ("/any/SUB/STRASSE", "Straße"), ("/any/sub/straße", "Straße"), ("/any/Sub/CAFE\u{301}", "caf\u{E9}"),
                ("/exact/Sub/Straße", "Straße"),
            ] {
                #expect(Array(try introspectScan(["cat", image, path]).bytes) == Array(contents.utf8), "\(path)")
            }
            for path in ["/exact/sub/Straße", "/exact/Sub/STRASSE", "/any/Sub/strase", "/ANY/Sub"] {
                #expect(try introspectScan(["cat", image, path]).status == 2, "\(path)")
            }
            // An encoding that nobody knows: what is typed exactly is found.
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: image))
            try file.seek(toOffset: 1024 + 636)
            try file.write(contentsOf: Data([9, 0]))
            try file.close()
            let unknown = try introspectScan(["cat", image, "/any/sub/Straße"])
            #expect(unknown.status == 2)
            #expect(unknown.errors.contains("ignores the case of names in encoding 9, expected 1"))
        }
    }
}
