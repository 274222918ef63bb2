import TestBed
import Testing

extension GuestTests {
    /// Images that were written through the redirect log are plain files again, for any tool, once it is drained.
    struct PlainFileTests {
        @Test func aDrainedImageIsToTheByteWhatClientsRead() throws {
            try Bed.with { host in
                let options = ["--ssd", "DIR/ssd", "--ssd-mode", "writeback", "--ssd-size", "64M"]
                let bed = try GuestBed(on: host, serverOptions: options)
                _ = try bed.temporary.makeDirectory("ssd")
                let image = bed.exported("disk.img")
                let socket = bed.temporary.file("introspectd-state/control")
                let control = try Executable.path(of: "introspectctl")
                try run("truncate", "--size", "32M", image)
                try run("mke2fs", "-q", "-F", "-t", "ext4", image)
                let server = try #require(bed.server as? IntrospectServer)
                try server.start()
                _ = try server.waitUntilIntrospectionRests(upTo: 60)

                let drained = try readByClientAfterWriting("first", bed)
                let tier = try run(control, "tier", "list", "--json", "--control", socket)
                #expect(!tier.contains("\"fullness\" : 0,"), "the log was never used: \(tier)")
                try run(control, "drain", "disk.img", "--control", socket)
                try expectPlainFile(image, drained)

                let stopped = try readByClientAfterWriting("second", bed)
                #expect(stopped != drained)
                try bed.server.stop()
                try expectPlainFile(image, stopped)
            }
        }

        /// Has a guest make files with fsync; returns the checksum of the image as a client reads it afterwards.
        private func readByClientAfterWriting(_ name: String, _ bed: GuestBed) throws -> Substring {
            let said = try bed.guest.run(
                """
                \(bed.mountExport)
                loop=$(losetup --find --show --direct-io=on /mnt/nfs/disk.img)
                mount -t ext4 $loop /mnt/guest
                for i in $(seq 1 20); do
                    mkdir -p /mnt/guest/\(name)/$((i % 7))
                    seq $i $((i + 2000)) > /mnt/guest/\(name)/$((i % 7))/$i
                    sync /mnt/guest/\(name)/$((i % 7))/$i
                done
                umount /mnt/guest
                losetup -d $loop
                umount /mnt/nfs
                \(bed.mountExport)
                echo "sum $(sha256sum < /mnt/nfs/disk.img)"
                umount /mnt/nfs
                """, timeLimit: 240)
            return try #require(said.split(whereSeparator: \.isWhitespace).drop { $0 != "sum" }.dropFirst().first)
        }

        private func expectPlainFile(_ image: String, _ sum: Substring) throws {
            #expect(try run("sha256sum", image).hasPrefix(sum))
            #expect(try run("qemu-img", "info", "--output=json", "-f", "raw", image).contains("\"raw\""))
            try run("e2fsck", "-fn", image)
        }
    }
}
