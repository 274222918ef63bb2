import Glibc
import TestBed
import Testing

extension GuestTests {
    /// What a guest does to whole file systems with the real tools over NFS: map and index follow without a restart.
    struct GuestToolTests {
        /// Each ends with everything in place; `$loop` is the disk.
        private static let steps: [(name: String, script: String)] = [
            ("mkfs.ext4", "mkfs.ext4 -q -b 1024 $loop 96M; fill $loop"),
            ("tune2fs, no journal", "tune2fs -O ^has_journal -L renamed $loop; fill $loop"),
            ("tune2fs, a journal", "tune2fs -j $loop; fill $loop"),
            ("resize2fs, larger", "e2fsck -fp $loop || test $? -le 1; resize2fs $loop 160M; fill $loop"),
            ("resize2fs, smaller", "e2fsck -fp $loop || test $? -le 1; resize2fs $loop 64M; fill $loop"),
            (
                "resize2fs while mounted",
                "mount $loop /mnt/guest; resize2fs $loop 128M; sync -f /mnt/guest; umount /mnt/guest; fill $loop"
            ),
            (
                "damage and e2fsck",
                "debugfs -w -R 'clri /filled/d1' $loop; debugfs -w -R 'freei <20>' $loop; e2fsck -fy $loop || test $? -le 1"
            ),
            ("another file system", "mkfs.ext2 -q -F -b 4096 $loop; fill $loop"),
        ]

        @Test func theMapFollowsTools() throws {
            try GuestBed.with(serverOptions: ["--report-files"]) { bed in
                let image = bed.exported("disk.img")
                try run("truncate", "--size", "288M", image)
                try bed.server.stop()
                try bed.server.start()
                let server = try #require(bed.server as? IntrospectServer)
                let session = try GuestSession(bed.guest, in: bed.temporary, bed: bed.bed)
                defer { session.kill() }
                _ = try session.perform(
                    "\(bed.mountExport)\nlosetup --find --partscan --direct-io=on /mnt/nfs/disk.img", timeLimit: 60)
                for (name, script) in Self.steps {
                    let said = try session.perform(Self.functions + script + "\nsync\n", timeLimit: 120)
                    let report = try server.waitUntilIntrospectionRests(upTo: 60)
                    let (differences, _) = try GuestTruthTests.differences(image, server)
                    #expect(differences == [], "after \(name): \(report.images.map(\.state)), \(said)")
                }
            }
        }

        private static let functions = """
            exec 2>&1
            loop=$(losetup --noheadings --output NAME --associated /mnt/nfs/disk.img)
            fill() {
                mount $1 /mnt/guest
                rm -rf /mnt/guest/filled
                mkdir -p /mnt/guest/filled/d1/d2
                for i in $(seq 60); do seq $i $((i + 400)) > /mnt/guest/filled/d$((i % 2 + 1))-$i; done
                head -c 3000000 /dev/zero > /mnt/guest/filled/d1/d2/large
                umount /mnt/guest
            }

            """
    }
}
