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
            #expect(outcome.errors.contains("\(missing): open: No such file or directory"))
            let array = try JSONSerialization.jsonObject(with: outcome.bytes) as? [[String: Any]] ?? []
            #expect(array.map { $0["image"] as? String } == [images[2], images[0], images[1]])
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
            let nowhere = try introspectScan(["export", "--maps", images[0] + "/maps", images[1]])
            #expect(nowhere.status == 2)
            #expect(nowhere.errors.contains("\(images[0])/maps: Not a directory"))
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
