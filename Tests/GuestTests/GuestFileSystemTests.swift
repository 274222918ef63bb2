import Glibc
import TestBed
import Testing

extension GuestTests {
    struct GuestFileSystemTests {
        private static let operations = 800

        @Test(arguments: [
            ["-t", "ext3", "-b", "4096"],
            ["-t", "ext3", "-b", "1024", "-I", "128"],
            ["-t", "ext4"],
        ])
        func aGuestsFileSystemIsCleanAfterAWorkload(options: [String]) throws {
            try GuestBed.with { bed in
                let image = bed.exported("disk.img")
                try run("truncate", "--size", "256M", image)
                try Command(["mke2fs", "-q", "-F"] + options + [image]).run()
                let tool = try Executable.path(of: "introspect-bench")
                let churn = "\(tool) churn /mnt/guest/work --seed 5 --operations \(Self.operations)"
                let said = try bed.guest.run(
                    """
                    \(bed.mountExport)
                    loop=$(losetup --find --show --direct-io=on /mnt/nfs/disk.img)
                    mount -t \(options[1]) $loop /mnt/guest
                    mkdir /mnt/guest/work
                    \(churn)
                    umount /mnt/guest
                    losetup -d $loop
                    umount /mnt/nfs
                    \(bed.mountExport)
                    loop=$(losetup --find --show --direct-io=on --read-only /mnt/nfs/disk.img)
                    mount -t \(options[1]) -o ro $loop /mnt/guest
                    \(churn) --verify
                    umount /mnt/guest
                    losetup -d $loop
                    umount /mnt/nfs
                    """, timeLimit: 240)
                #expect(said.contains("files are as they should be"))
                if let server = bed.server as? IntrospectServer {
                    try expectLiveMapEqualsScan(of: image, on: server)
                }
                try bed.server.stop()
                try run("e2fsck", "-fn", image)
            }
        }

        /// What the server has come to know of the image from the guest's writes is what a scan finds.
        private func expectLiveMapEqualsScan(of image: String, on server: IntrospectServer) throws {
            let report = try server.waitUntilIntrospectionRests(upTo: 60)
            #expect(report.images.count == 1)
            let name = image.split(separator: "/").last.map(String.init) ?? image
            let live = try ClassRuns(lines: readText(of: "\(server.reportDirectory)/\(name).runs"))
            let scan = try ClassRuns(lines: run(try Executable.path(of: "introspect-scan"), "runs", image))
            #expect(live.differences(from: scan) == [])
            #expect(scan.bytes(of: "directory") > 0 && scan.bytes(of: "data") > 0)
        }
    }
}
