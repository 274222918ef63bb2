import TestBed
import Testing

/// Images whose maps were saved: not scanned at the start, unless they were changed.
struct SavedMapTests {
    @Test func currentMapIsLoadedAndAnOldOneReported() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let maps = temporary.file("maps")
            let images = ["current", "changed", "unknown", "damaged", "older", "newer"].map { "\(export)/\($0).img" }
            for image in images { try run("mke2fs", "-q", "-F", "-t", "ext4", image, "32M") }
            let scan = try Executable.path(of: "introspect-scan")
            for image in images where image != images[2] { try run(scan, "export", "--maps", maps, image) }
            try run("debugfs", "-w", "-R", "mkdir later", images[1])
            try run("dd", "if=/dev/zero", "of=\(maps)/damaged.img.map", "bs=1", "seek=32", "count=8", "conv=notrunc")
            // The version, which the checksum leaves out.
            for (name, version) in [("older", "\\1"), ("newer", "\\4")] {
                let map = "\(maps)/\(name).img.map"
                try run("bash", "-c", "printf '\(version)' | dd of=\(map) bs=1 seek=16 conv=notrunc status=none")
            }
            let server = try LocalServer(serving: export, ["--maps", maps], in: temporary, on: bed)
            for image in images {
                try server.waitForLog(
                    "\(image): \(image == images[0] ? "map loaded from \(maps)/current" : "scanned in")")
            }
            #expect(server.process.log.contains("\(images[1]) is scanned: the image was changed after it was made"))
            #expect(server.process.log.contains("\(images[3]) is scanned: the checksum of the saved map is"))
            for (image, version) in [(images[4], 1), (images[5], 4)] {
                #expect(
                    server.process.log.contains(
                        "\(image) is scanned: a saved map of version \(version), expected 2 to 3"))
            }
            #expect(!server.process.log.contains("unknown.img.map"))
        }
    }
}
