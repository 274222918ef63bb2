import BlockStorage
import DiskImages
import Glibc
import TestBed
import Testing
import Volumes

extension GuestTests {
    /// A volume group over two images, made and changed by a guest's own LVM while the server looks on.
    struct VolumeGroupTests {
        /// Makes volumes of every kind, those that are mapped with a file system and a file `mark` of the volume's name.
        private static let script = """
            export LVM_SYSTEM_DIR=/run/lvm LVM_SUPPRESS_FD_WARNINGS=1
            mkdir -p /run/lvm
            cat > /run/lvm/lvm.conf <<'END'
            devices { use_devicesfile = 0  global_filter = [ "a|^/dev/loop[0-9]+$|", "r|.*|" ] }
            global { locking_dir = "/run/lock"  use_lvmpolld = 0  event_activation = 0  thin_check_executable = "" }
            backup { backup = 0  archive = 0 }
            activation { udev_sync = 0  udev_rules = 0  verify_udev_operations = 1  monitoring = 0 }
            END
            /run/modprobe -a dm-mirror dm-snapshot dm-raid raid1 dm-thin-pool
            make() { lvcreate --quiet --quiet --yes --wipesignatures n "$@"; }
            fill() {
                mke2fs -q -t ext4 /dev/vg/$1
                mount /dev/vg/$1 /mnt/guest
                echo "this is $1" > /mnt/guest/mark
            }
            first=$(losetup --find --show --direct-io=on /mnt/nfs/a.img)
            second=$(losetup --find --show --direct-io=on /mnt/nfs/b.img)
            pvcreate --quiet --quiet $first $second
            vgcreate --quiet --quiet --physicalextentsize 1m vg $first $second
            make --stripes 2 --stripesize 64k --extents 40 --name root vg
            fill root
            make --type raid1 --mirrors 1 --nosync --extents 8 --name mirror vg
            make --type mirror --mirrors 1 --nosync --mirrorlog core --extents 8 --name legs vg
            make --type raid0 --stripes 2 --extents 8 --name fast vg
            make --extents 8 --name home vg $second
            mkdir /mnt/guest/lost+found/etc; cp -r /etc/apt /etc/dpkg /mnt/guest
            lvextend --quiet --quiet --extents +20 vg/root
            resize2fs /dev/vg/root > /dev/null 2>&1
            cp -r /etc/apt /mnt/guest/again
            umount /mnt/guest
            for name in mirror legs fast home; do fill $name; umount /mnt/guest; done
            lvcreate --quiet --quiet --yes --snapshot --extents 4 --name old vg/home
            lvcreate --quiet --quiet --yes --type thin-pool --zero n --extents 8 --name pool vg
            lvcreate --quiet --quiet --yes --type thin --virtualsize 20m --thinpool pool --name thin vg
            for name in root mirror legs fast home; do
                echo "sum $name $(dd if=/dev/vg/$name bs=1M iflag=direct status=none | sha256sum)"
            done
            vgchange --quiet --quiet --activate n vg
            losetup --detach $first; losetup --detach $second
            umount /mnt/nfs
            """

        @Test func volumesOfEveryKindOverTwoImagesAreFollowed() throws {
            try GuestBed.with { bed in
                let images = ["a.img", "b.img"].map(bed.exported)
                for image in images { try run("truncate", "--size", "160M", image) }
                let output = try bed.guest.run("\(bed.mountExport)\n\(Self.script)", timeLimit: 240)
                if let server = bed.server as? IntrospectServer { try expectLiveMapEqualsScan(of: images, on: server) }
                try bed.server.stop()
                try expectContents(of: images, areAsIn: output, bed)
                for name in ["root", "mirror", "legs", "fast", "home"] {
                    let mark = try scan("cat", images[0], "/mark", "--with", images[1], "--volume", "vg/\(name)")
                    #expect(mark.output == "this is \(name)\n")
                }
                let whole = try scan("ls", images[0], "/", "--with", images[1], "--volume", "vg/root")
                #expect(whole.output.contains("again"))
                for (cause, volume) in [("is a snapshot of home", "old"), ("a thin volume", "vg/thin")] {
                    #expect(whole.errorOutput.contains(cause) && whole.errorOutput.contains(volume))
                }
                // Of each disk alone: a mirror has a whole leg there, a volume on the disk is whole, stripes are not.
                for image in images {
                    for name in ["mirror", "legs"] {
                        #expect(try scan("cat", image, "/mark", "--volume", "vg/\(name)").output == "this is \(name)\n")
                    }
                    let alone = try scan("summary", image).output
                    #expect(alone.contains("vg/home: 8.0 MiB, ext4") == (image == images[1]))
                    #expect(!alone.contains("vg/root: 60.0 MiB, ext4"))
                }
                try expectNamesWhatIsMissing(after: images[1], on: bed)
            }
        }

        /// Each volume, read through its map, has the bytes that the guest's kernel read.
        private func expectContents(of images: [String], areAsIn output: String, _ bed: GuestBed) throws {
            let joined = try #require(DiskImage(joining: try images.map { try .raw(path: $0) }))
            let disk = try VirtualDisk.open(joined, access: .readOnly, mode: .buffered)
            let layout = try DiskLayout.read(from: disk, members: joined.members)
            let sums = output.split(separator: "\n").map { $0.split(separator: " ") }.filter { $0.first == "sum" }
            #expect(sums.count == 5)
            for sum in sums {
                let volume = try #require(layout.volumes.first { $0.name == "vg/\(sum[1])" })
                let copy = bed.temporary.file("copy")
                let device = VolumeDevice(volume: volume, disk: disk)
                let bytes = try device.read(ByteRange(offset: 0, length: device.size))
                let file = try #require(fopen(copy, "w"))
                #expect(fwrite(bytes, 1, bytes.count, file) == bytes.count)
                fclose(file)
                #expect(try run("sha256sum", copy).hasPrefix(sum[2]), "\(sum[1])")
            }
        }

        /// A group without one of its disks is served with what is there, and the log says what is not.
        private func expectNamesWhatIsMissing(after image: String, on bed: GuestBed) throws {
            guard let server = bed.server as? IntrospectServer else { return }
            try run("mv", image, bed.temporary.file("away.img"))
            let before = server.log.count
            try server.start()
            let report = try server.waitUntilIntrospectionRests(upTo: 60)
            let log = server.log.dropFirst(before)
            #expect(report.images.count == 1)
            for name in ["root", "fast", "home"] {
                #expect(log.contains("vg/\(name): degraded"), "\(name)")
            }
            let runs = try ClassRuns(lines: readText(of: "\(server.reportDirectory)/a.img.runs"))
            #expect(runs.bytes(of: "unknown") > 60 << 20)
            try server.stop()
        }

        private func scan(_ words: String...) throws -> Command.Result {
            try Command([try Executable.path(of: "introspect-scan")] + words, timeLimit: 30).result()
        }

        /// What the server has come to know from the guest's writes is what a scan of the two images finds.
        private func expectLiveMapEqualsScan(of images: [String], on server: IntrospectServer) throws {
            // Twice a second the server looks which images belong together.
            var report = try server.waitUntilIntrospectionRests(upTo: 90)
            for _ in 0..<60 where report.images.count > 1 {
                usleep(500_000)
                report = try server.waitUntilIntrospectionRests(upTo: 90)
            }
            #expect(report.images.count == 1)
            let live = try ClassRuns(lines: readText(of: "\(server.reportDirectory)/a.img.runs"))
            let scan = try ClassRuns(lines: scan("runs", images[0], "--with", images[1]).output)
            #expect(live.differences(from: scan) == [])
            #expect(scan.bytes(of: "directory") > 0 && scan.bytes(of: "data") > 0)
        }
    }
}
