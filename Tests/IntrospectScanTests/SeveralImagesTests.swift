import Foundation
import TestTools
import Testing

/// Commands that look at several images at once.
@Suite struct SeveralImagesTests {
    private func withImages(_ body: (_ directory: String, [String]) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            let images = ["a", "b", "c"].map { "\(directory)/\($0).img" }
            for (image, type) in zip(images, ["ext2", "ext3", "ext4"]) {
                try runTool("mke2fs", ["-q", "-F", "-t", type, image, "32M"])
            }
            try body(directory, images)
        }
    }

    @Test func summariesComeInOrderAndOneThatCannotBeReadDoesNotStopTheOthers() throws {
        try withImages { directory, images in
            let missing = directory + "/missing"
            let outcome = try introspectScan(["--json", images[2], missing] + images[..<2])
            #expect(outcome.status == 2)
            #expect(outcome.errors.contains("\(missing): No such file or directory"))
            let array = try JSONSerialization.jsonObject(with: outcome.bytes) as? [[String: Any]] ?? []
            #expect(array.map { $0["image"] as? String } == [images[2], missing, images[0], images[1]])
            #expect(
                array.map { $0["error"] as? String } == [nil, "\(missing): No such file or directory", nil, nil])
            let alone = try introspectScan(["--json", missing])
            let object = try JSONSerialization.jsonObject(with: alone.bytes) as? [String: Any]
            #expect(alone.status == 2 && object?["image"] as? String == missing && object?["error"] != nil)
            let text = try introspectScan(images)
            #expect(text.status == 0)
            #expect(text.output.components(separatedBy: "raw image").count == 4)
        }
    }

    @Test func mapsAreSavedUnderTheImagesNames() throws {
        try withImages { directory, images in
            let outcome = try introspectScan(["export", "--json", "--maps", directory + "/maps"] + images)
            #expect(outcome.status == 0)
            #expect(outcome.errors == "")
            let names = try FileManager.default.contentsOfDirectory(atPath: directory + "/maps").sorted()
            #expect(names == ["a.img.map", "b.img.map", "c.img.map"])
            let array = try JSONSerialization.jsonObject(with: outcome.bytes) as? [[String: Any]] ?? []
            #expect(array.map { $0["image"] as? String } == images)
            #expect(array.allSatisfy { ($0["problems"] as? [String])?.isEmpty == true })
            let one = try introspectScan(["export", "--json", "--maps", directory + "/maps", images[0]])
            #expect(try JSONSerialization.jsonObject(with: one.bytes) is [[String: Any]])
            let nowhere = try introspectScan(["export", "--maps", images[0] + "/maps", images[1]])
            #expect(nowhere.status == 2)
            #expect(nowhere.errors.contains("\(images[0])/maps: Not a directory"))
        }
    }

    /// Two images of one name: neither map takes the other's place.
    @Test func mapsThatWouldBeOneFileAreRefusedAndLieAsTheImagesDo() throws {
        try withImages { directory, images in
            let (export, maps) = (directory + "/export", directory + "/maps")
            for (number, folder) in ["one", "two"].enumerated() {
                try FileManager.default.createDirectory(
                    atPath: "\(export)/\(folder)", withIntermediateDirectories: true)
                try FileManager.default.moveItem(atPath: images[number], toPath: "\(export)/\(folder)/disk.img")
            }
            let both = ["\(export)/one/disk.img", "\(export)/two/disk.img"]
            let refused = try introspectScan(["export", "--maps", maps] + both)
            #expect(refused.status == 2)
            #expect(refused.errors.contains("\(both[0]) and \(both[1]): both maps would be \(maps)/disk.img.map"))
            #expect(refused.errors.contains("--below"))
            #expect(!FileManager.default.fileExists(atPath: maps))
            // The same image twice, by way of a link, is two outputs in one file, too.
            try FileManager.default.createSymbolicLink(atPath: directory + "/link", withDestinationPath: export)
            for twice in [both[1], "\(directory)/link/two/disk.img"] {
                let outcome = try introspectScan(["export", "--maps", maps, "--below", export, twice, both[1]])
                #expect(outcome.status == 2 && outcome.errors.contains("both maps would be \(maps)/two/disk.img.map"))
            }
            let saved = try introspectScan(["export", "--maps", maps, "--below", directory + "/link"] + both)
            #expect(saved.status == 0, "\(saved.errors)")
            for folder in ["one", "two"] {
                #expect(try FileManager.default.contentsOfDirectory(atPath: "\(maps)/\(folder)") == ["disk.img.map"])
            }
            let outside = try introspectScan(["export", "--maps", maps, "--below", export, images[2]])
            #expect(outside.status == 2 && outside.errors.contains("is not below \(export)"))
        }
    }

    /// What lies where a map goes, or somebody laid a link there, is not written through.
    @Test func aMapReplacesWhatIsThereAndFollowsNoLink() throws {
        try withImages { directory, images in
            let (maps, victim) = (directory + "/maps", directory + "/victim")
            try FileManager.default.createDirectory(atPath: maps, withIntermediateDirectories: true)
            try Data("mine".utf8).write(to: URL(fileURLWithPath: victim))
            try FileManager.default.createSymbolicLink(atPath: maps + "/a.img.map", withDestinationPath: victim)
            #expect(try introspectScan(["export", "--maps", maps, images[0]]).status == 0)
            #expect(try String(contentsOfFile: victim, encoding: .utf8) == "mine")
            #expect(try FileManager.default.contentsOfDirectory(atPath: maps) == ["a.img.map"])
        }
    }

    @Test func outputThatCannotBeWrittenIsAnError() throws {
        try withImages { _, images in
            for command in [[], ["runs"], ["ls"], ["map", "-o", "/dev/full/x.png"], ["explain", "--offset", "0"]] {
                let outcome = try introspectScan(command + [images[0]], output: "/dev/full")
                #expect(outcome.status == 2, "\(command)")
                #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
            }
        }
    }
}
