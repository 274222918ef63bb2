import Glibc
import TestBed
import Testing

/// Images and clients that are not as they should be: each gets a clear line or the protocol's answer, and the server
/// goes on.
struct BadInputTests {
    /// A directory of broken images, and for each what the log has to say.
    private struct BrokenImages {
        let directory: String
        var expectations: [(file: String, line: String)] = []

        init(_ temporary: TemporaryDirectory) throws {
            directory = try temporary.makeDirectory("export")
            try partitionTableThatPointsPastTheEnd()
            try physicalVolumeWithoutMetadata()
            try corruptSuperblock()
            try truncatedImage()
            try inodeThatPointsAtItself()
        }

        private mutating func add(_ name: String, expecting line: String) -> String {
            expectations.append((name, line))
            return "\(directory)/\(name)"
        }

        private mutating func partitionTableThatPointsPastTheEnd() throws {
            let path = add("table.img", expecting: "expected at most the disk's end")
            try run("truncate", "--size", "64M", path)
            try run("sh", "-c", "echo '2048,,83' | sfdisk --quiet \(path)")
            try run("truncate", "--size", "16M", path)
        }

        private mutating func physicalVolumeWithoutMetadata() throws {
            let path = add("volume.img", expecting: "LVM")
            try run("truncate", "--size", "64M", path)
            let device = try run("losetup", "--find", "--show", path).split(separator: "\n").joined()
            defer { _ = try? run("losetup", "--detach", device) }
            try run(
                "lvm", "pvcreate", "--quiet", "--driverloaded", "n", "--config", "devices{use_devicesfile=0}", device)
            // The header of the metadata area stands in its first sector, at 4 KiB.
            try run("dd", "if=/dev/zero", "of=\(path)", "bs=4096", "seek=1", "count=1", "conv=notrunc", "status=none")
        }

        private mutating func corruptSuperblock() throws {
            let path = add("superblock.img", expecting: "superblock")
            try run("mke2fs", "-q", "-F", "-t", "ext4", path, "32M")
            // s_blocks_per_group, s_clusters_per_group and s_inodes_per_group
            try run(
                "sh", "-c",
                "printf '\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377' | dd of=\(path) "
                    + "bs=1 seek=1056 conv=notrunc status=none")
        }

        private mutating func truncatedImage() throws {
            let path = add("truncated.img", expecting: "expected")
            try run("mke2fs", "-q", "-F", "-t", "ext3", path, "64M")
            try run("truncate", "--size", "20M", path)
        }

        private mutating func inodeThatPointsAtItself() throws {
            let path = add("loop.img", expecting: "loop.img")
            try run("mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", path, "16M")
            // The root directory's indirect block is the block of the inode table that holds its own inode.
            let table = try run("dumpe2fs", path).split(separator: "\n")
                .first { $0.contains("Inode table at") }.flatMap { line in
                    line.split(separator: " ").compactMap { Int($0.prefix { $0.isNumber }) }.first
                }
            guard let table else { throw TestBedError("dumpe2fs names no inode table") }
            try run("debugfs", "-w", "-R", "set_inode_field <2> block[IND] \(table)", path)
            try run("debugfs", "-w", "-R", "set_inode_field <2> size 1048576", path)
        }
    }

    @Test func brokenImagesAreNamedAndServedAsFiles() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let images = try BrokenImages(temporary)
            try run("mke2fs", "-q", "-F", "-t", "ext4", "\(images.directory)/good.img", "32M")
            let server = try LocalServer(serving: images.directory, in: temporary, on: bed)
            try server.waitForLog("good.img: scanned")
            for (file, line) in images.expectations {
                try server.process.wait(upTo: 20, for: "a line on \(file)") {
                    server.process.log.split(separator: "\n").contains { $0.contains(file) && $0.contains(line) }
                }
            }
            let listing = try server.list()
            for (file, _) in images.expectations {
                #expect(listing.contains(file))
                let url = "nfs://127.0.0.1\(images.directory)/\(file)"
                let ports = "?nfsport=\(server.port)&mountport=\(server.mountPort)"
                let copy = temporary.file("copy-of-\(file)")
                try run("nfs-cp", url + ports, copy, timeLimit: 60)
                try run("cmp", copy, "\(images.directory)/\(file)")
            }
            #expect(server.process.stop() == 0)
        }
    }

    /// Bytes that are no calls. A connection with bytes that make no sense is closed; one with half a record waits.
    @Test(arguments: [
        ("garbage", (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 197 &+ 13) }, true),
        ("a record of 4 GiB", [0x7f, 0xff, 0xff, 0xff] + [UInt8](repeating: 0, count: 64), true),
        ("a last fragment of 2 GiB", [UInt8](repeating: 0xff, count: 64), true),
        ("half a record", [0x80, 0, 0x10, 0] + [UInt8](repeating: 1, count: 100), false),
    ])
    func clientWithNonsenseCostsOnlyItsConnection(name: String, bytes: [UInt8], closes: Bool) throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            try writeText("hello", to: "\(export)/file")
            let server = try LocalServer(serving: export, in: temporary, on: bed)
            for port in [server.port, server.mountPort] {
                let client = try Socket()
                try client.connect(to: port)
                client.send(bytes)
                #expect(client.isClosedByPeer(within: closes ? 10 : 1) == closes)
                #expect(try server.list().contains("file"))
            }
            #expect(server.process.stop() == 0)
        }
    }
}
