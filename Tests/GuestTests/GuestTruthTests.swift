import Foundation
import Glibc
import TestBed
import Testing

extension GuestTests {
    /// What the server has come to know from a guest's writes over NFS equals a fresh scan, at every point at which the
    /// guest has written everything in place: the class of every block, the inode that every block of contents belongs to,
    /// and every path of every inode.
    ///
    /// `INTROSPECT_TRUTH_SECONDS` says how long each kind of file system is worked on, and has all kinds done;
    /// `INTROSPECT_TRUTH_KINDS` names those to do.
    struct GuestTruthTests {
        struct Kind: CustomTestStringConvertible, Sendable {
            let name: String
            /// For mke2fs.
            let options: [String]
            var mountOptions = "rw"
            /// Whether it is on a logical volume over two physical ones.
            var isOnVolume = false
            /// Whether `make test` does it.
            var isUsual = false

            var type: String { options[1] }
            var testDescription: String { name }

            static let all = [
                Kind(name: "ext4", options: ["-t", "ext4"], isUsual: true),
                Kind(name: "ext3", options: ["-t", "ext3", "-b", "1024"], isUsual: true),
                Kind(name: "ext2", options: ["-t", "ext2", "-b", "1024"]),
                Kind(
                    name: "ext3-writeback", options: ["-t", "ext3", "-b", "4096"], mountOptions: "data=writeback"),
                Kind(name: "ext3-journal", options: ["-t", "ext3", "-b", "1024"], mountOptions: "data=journal"),
                Kind(name: "ext4-without-journal", options: ["-t", "ext4", "-O", "^has_journal"]),
                Kind(name: "ext4-on-lvm", options: ["-t", "ext4", "-b", "1024"], isOnVolume: true),
            ]

            static var wanted: [Kind] {
                if let names = environment("INTROSPECT_TRUTH_KINDS")?.split(separator: ",") {
                    return all.filter { names.contains(Substring($0.name)) }
                }
                return environment("INTROSPECT_TRUTH_SECONDS") == nil ? all.filter(\.isUsual) : all
            }
        }

        static func environment(_ name: String) -> String? {
            getenv(name).map { String(cString: $0) }
        }

        /// How long each kind is worked on, in seconds; three rounds at least.
        private static let seconds = environment("INTROSPECT_TRUTH_SECONDS").flatMap { Double($0) } ?? 3

        @Test(arguments: Kind.wanted)
        func liveMapEqualsAScan(of kind: Kind) throws {
            try GuestBed.with(serverOptions: ["--report-files"]) { bed in
                let image = bed.exported("disk.img")
                try run("truncate", "--size", "288M", image)
                try bed.server.stop()
                try bed.server.start()
                let server = try #require(bed.server as? IntrospectServer)
                let session = try GuestSession(bed.guest, in: bed.temporary, bed: bed.bed)
                let tool = try Executable.path(of: "introspect-bench")
                // The server sees everything from an empty disk on: partition table, LVM and mkfs are the guest's.
                _ = try session.perform(Self.functions(kind, bed, tool: tool) + "begin", timeLimit: 120)
                let start = ContinuousClock.now
                var (round, names) = (0, 0)
                while round < 3 || ContinuousClock.now - start < .seconds(Self.seconds) {
                    round += 1
                    let step = Self.functions(kind, bed, tool: tool) + "round \(round)"
                    let said = try session.perform(step, timeLimit: 240)
                    let (differences, count) = try Self.differences(image, server)
                    #expect(differences == [], "\(kind.name), round \(round): \(said)")
                    #expect(count > 0)
                    guard differences.isEmpty else { return session.kill() }
                    names += count
                }
                let elapsed = ContinuousClock.now - start
                print(
                    "\(kind.name): no differences at any of \(round) quiet points in \(elapsed), \(names) names compared"
                )
                _ = try session.perform(Self.functions(kind, bed, tool: tool) + "finish", timeLimit: 60)
                let report = try server.waitUntilIntrospectionRests(upTo: 60)
                #expect(report.images.map(\.state) == ["current"])
                session.kill()
            }
        }

        /// What the live map and index and a scan of `image` say differently, when the guest is done with something; and
        /// how many names of files they agree on.
        static func differences(_ image: String, _ server: IntrospectServer) throws -> ([String], names: Int) {
            let report = try server.waitUntilIntrospectionRests(upTo: 60)
            guard report.images.allSatisfy({ ["current", "unrecognised"].contains($0.state) }) else {
                return (["\(report.images)", server.log], 0)
            }
            let name = image.split(separator: "/").last.map(String.init) ?? image
            let tool = try Executable.path(of: "introspect-scan")
            let runs = try run(tool, "runs", image)
            let live = try ClassRuns(lines: readText(of: "\(server.reportDirectory)/\(name).runs"))
            let scan = try ClassRuns(lines: runs)
            let liveFiles = try FileListing(report: readText(of: "\(server.reportDirectory)/\(name).files"))
            let files = try FileListing(runs: runs, names: run(tool, "ls", "--recursive", "--json", image))
            // What was written and freed again may be pending still.
            let differences = live.settingPending(by: scan).differences(from: scan)
            return (differences + liveFiles.differences(from: files), files.nameCount)
        }

        /// Bash functions of the guest: `begin`, `round NUMBER`, at whose end everything is in place, and `finish`.
        private static func functions(_ kind: Kind, _ bed: GuestBed, tool: String) -> String {
            """
            find_device() {
                loop=$(losetup --noheadings --output NAME --associated /mnt/nfs/disk.img)
                device=\(kind.isOnVolume ? "/dev/mapper/vg-lv" : "$loop")
            }
            begin() {
                \(bed.mountExport)
                losetup --find --partscan --direct-io=on /mnt/nfs/disk.img
                find_device
                \(kind.isOnVolume ? volumeCommands : "")
                mke2fs -q \(kind.options.joined(separator: " ")) -E lazy_itable_init=1 $device \(kind.isOnVolume ? "" : "192M")
                mount -t \(kind.type) -o \(kind.mountOptions) $device /mnt/guest
            }
            grow() {
                \(kind.isOnVolume ? "lvextend --quiet --extents +100%FREE vg/lv > /dev/null" : "")
                resize2fs $device > /run/resized 2>&1 && return
                umount /mnt/guest
                e2fsck -fy $device > /run/checked 2>&1 || test $? -le 1
                resize2fs $device > /run/resized 2>&1
                mount -t \(kind.type) -o \(kind.mountOptions) $device /mnt/guest
            }
            round() {
                if test -e /run/frozen; then fsfreeze --unfreeze /mnt/guest; rm /run/frozen; fi
                find_device
                mkdir /mnt/guest/round-$1
                \(tool) churn /mnt/guest/round-$1 --seed $1 --operations 120
                rm -rf /mnt/guest/round-$(($1 - 2))
                test $1 -ne 2 || grow
                if test $(($1 % 4)) -eq 0; then
                    umount /mnt/guest
                    mount -t \(kind.type) -o \(kind.mountOptions) $device /mnt/guest
                fi
                if test $(($1 % 3)) -eq 0; then fsfreeze --freeze /mnt/guest; touch /run/frozen; else sync; fi
            }
            finish() {
                if test -e /run/frozen; then fsfreeze --unfreeze /mnt/guest; rm /run/frozen; fi
                find_device
                umount /mnt/guest
                \(kind.isOnVolume ? "vgchange --quiet --activate n vg > /dev/null" : "")
                losetup --detach $loop
                umount /mnt/nfs
            }
            \(kind.isOnVolume ? GuestDisk.guestVolumeSettings : "")

            """
        }

        private static let volumeCommands = """
            printf 'label: gpt\\nsize=100M\\n;\\n' | sfdisk --quiet $loop
            partx --update $loop
            pvcreate --quiet ${loop}p1 ${loop}p2 > /dev/null
            vgcreate --quiet vg ${loop}p1 ${loop}p2 > /dev/null
            lvcreate --quiet --yes --extents 80%VG --name lv vg > /dev/null
            """
    }
}
