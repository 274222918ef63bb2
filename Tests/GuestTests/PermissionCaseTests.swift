import Foundation
import TestBed
import Testing

extension GuestTests {
    /// Who may do what, and what it does to modes, owners and times: of an export what the guest's kernel does with an ext4
    /// of its own. The server runs in the guest, too, as its root: with every capability that there is, which the machine
    /// that tests may lack.
    struct PermissionCaseTests {
        /// Lays out each case of `permission-cases.pl` in the file system itself, and carries it out there and by NFS.
        @Test func clientsMayDoWhatLocalUsersMay() throws {
            let cases = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "permission-cases.pl").path
            let said = try runInGuest(
                """
                perl='perl \(cases)'
                $perl /mnt/local/plain /mnt/local/plain | sed 's/^/local|/'
                $perl /mnt/local/open /mnt/nfs | sed 's/^/nfs|/'
                $perl /mnt/local/plain-nobody /mnt/local/plain-nobody root=65534 | sed 's/^/local nobody|/'
                $perl /mnt/local/squashed /mnt/squashed root=0 | sed 's/^/squashed|/'
                """)
            let expected = lines("local", in: said)
            #expect(expected.count > 700)
            expectEqual(lines("nfs", in: said), expected)
            let expectedOfNobody = lines("local nobody", in: said)
            #expect(expectedOfNobody.count > 180)
            expectEqual(lines("squashed", in: said), expectedOfNobody)
        }

        /// Blocks that ext4 keeps for root stay there when another fills the file system, by writes and by names.
        @Test func reservedBlocksAreForNobodyElse() throws {
            let said = try runInGuest(
                """
                capabilities=$(awk '/CapEff/ { print $2 }' /proc/self/status)
                # Without CAP_SYS_RESOURCE nobody could have them, and nothing were tested.
                [ $((0x$capabilities >> 24 & 1)) = 1 ]
                ! setpriv --reuid 1001 --regid 1001 --clear-groups dd if=/dev/zero of=/mnt/nfs/fill bs=64k status=none
                sync -f /mnt/local
                echo "data $(stat -f -c %f /mnt/local)"
                ! setpriv --reuid 1001 --regid 1001 --clear-groups \
                    sh -c 'i=0; while mkdir /mnt/nfs/$i; do i=$((i + 1)); done'
                sync -f /mnt/local
                echo "names $(stat -f -c %f /mnt/local)"
                dd if=/dev/zero of=/mnt/nfs/roots bs=64k count=16 status=none conv=fsync
                echo "reserved $(dumpe2fs -h /mnt/images/disk 2>/dev/null | awk '/^Reserved block count/ { print $4 }')"
                """)
            func blocks(_ what: String) throws -> Int {
                let line = said.split(separator: "\n").first { $0.hasPrefix("\(what) ") }
                return try #require(line.flatMap { Int($0.dropFirst(what.count + 1)) }, "\(said)")
            }
            let reserved = try blocks("reserved")
            #expect(reserved > 10_000)
            try #expect(blocks("data") >= reserved && blocks("names") >= reserved)
            // A client drops what it could not write, and ends before the last free block is taken.
            try #expect(blocks("data") < 2 * reserved, "\(said)")
        }

        /// A user whom the file system gives 8 MiB gets no more from the server, whose own root no quota binds.
        @Test func quotasBindTheUser() throws {
            let limit = 8192
            let said = try runInGuest(
                """
                capabilities=$(awk '/CapEff/ { print $2 }' /proc/self/status)
                # Without CAP_SYS_RESOURCE quotas would bind the server, too, and nothing were tested.
                [ $((0x$capabilities >> 24 & 1)) = 1 ]
                device=$(findmnt -n -o SOURCE /mnt/local)
                # quotactl(Q_SETQUOTA of a user, QIF_BLIMITS): there is no tool for it here.
                perl -e 'syscall(179, 0x80000800, $ARGV[0], 1001, pack("Q8 L2", \(limit), (0) x 7, 1, 0)) == 0
                    or die "quotactl: $!"' "$device"
                ! setpriv --reuid 1001 --regid 1001 --clear-groups \\
                    dd if=/dev/zero of=/mnt/nfs/fill bs=64k count=512 conv=fsync status=none
                sync -f /mnt/local
                echo "used $(du -k /mnt/local/open/fill | cut -f 1)"
                setpriv --reuid 1002 --regid 1002 --clear-groups \\
                    dd if=/dev/zero of=/mnt/nfs/other bs=64k count=512 conv=fsync status=none
                # What is root's to write counts for the owner, and is not refused.
                dd if=/dev/zero of=/mnt/nfs/fill bs=64k count=16 seek=256 conv=notrunc,fsync status=none
                sync -f /mnt/local
                echo "after $(du -k /mnt/local/open/fill | cut -f 1)"
                """, quotas: true)
            func kibibytes(_ what: String) throws -> Int {
                let line = said.split(separator: "\n").first { $0.hasPrefix("\(what) ") }
                return try #require(line.flatMap { Int($0.dropFirst(what.count + 1)) }, "\(said)")
            }
            #expect(said.contains("quota exceeded"), "\(said)")
            try #expect((limit / 2...limit).contains(kibibytes("used")), "\(said)")
            try #expect(kibibytes("after") >= kibibytes("used") + 1024, "\(said)")
        }

        /// What a client does otherwise, whoever serves it.
        private static let differences: [(local: String, client: String)] = [
            // The client does not ask for a size that the file has: its times stay.
            (
                "truncate to 7 of 0644 as owner: ok: 100644 1001:1001 size 7 links 1",
                "truncate to 7 of 0644 as owner: ok: 100644 1001:1001 size 7 links 1 old"
            ),
            (
                "truncate to 7 of 0644 as root: ok: 100644 1001:1001 size 7 links 1",
                "truncate to 7 of 0644 as root: ok: 100644 1001:1001 size 7 links 1 old"
            ),
        ]

        private func expectEqual(_ found: [Substring], _ expected: [Substring]) {
            #expect(found.count == expected.count)
            for (found, expected) in zip(found, expected) where found != expected {
                let isKnown = Self.differences.contains { $0.local == expected && $0.client == found }
                #expect(isKnown, "\(found); expected \(expected)")
            }
        }

        private func lines(_ run: String, in output: String) -> [Substring] {
            output.split(separator: "\n").filter { $0.hasPrefix("\(run)|") }.map { $0.dropFirst(run.count + 1) }
        }

        /// Runs `script` where `/mnt/local` is a file system with a fifth of it kept for root, whose directories `open` and
        /// `squashed` are served and mounted on `/mnt/nfs` and `/mnt/squashed`; with `quotas`, users may have any.
        private func runInGuest(_ script: String, quotas: Bool = false) throws -> String {
            try Bed.with { bed in
                let temporary = try TemporaryDirectory(on: bed)
                let guest = UserModeLinux(on: try NetworkNamespace(on: bed), in: temporary)
                let result = try guest.result(
                    of: try Self.preparation(quotas: quotas) + script + "\n", timeLimit: 600)
                guard result.status == 0 else { throw TestBedError("status \(result.status)\n\(result.output)") }
                return result.output
            }
        }

        private static func preparation(quotas: Bool) throws -> String {
            """
            trap 'cat /mnt/images/*.log' ERR
            mkdir /mnt/local /mnt/images /mnt/squashed
            truncate -s 256M /mnt/images/disk
            mkfs.ext4 -q -m 20 \(quotas ? "-O quota" : "") /mnt/images/disk
            mount -o loop\(quotas ? ",usrquota" : "") /mnt/images/disk /mnt/local
            mkdir /mnt/local/{open,squashed,plain,plain-nobody}
            chmod 777 /mnt/local /mnt/local/*
            serve() {
                name=$1; shift
                '\(try Executable.path(of: "introspectd"))' serve /mnt/local/$name --listen 127.0.0.1 --no-rpcbind \
                    --cache 8M --state /mnt/images/$name "$@" > /mnt/images/$name.log 2>&1 &
            }
            serve open --port 2049 --mount-port 20048
            serve squashed --port 2050 --mount-port 20049 --root-squash
            for port in 2049 20048 2050 20049; do
                until (exec 3<> /dev/tcp/127.0.0.1/$port) 2> /dev/null; do sleep 0.1; done
            done
            options=vers=3,nolock,tcp,addr=127.0.0.1,noac,lookupcache=none
            mount -i -t nfs -o $options,port=2049,mountport=20048 127.0.0.1:/mnt/local/open /mnt/nfs
            mount -i -t nfs -o $options,port=2050,mountport=20049 127.0.0.1:/mnt/local/squashed /mnt/squashed

            """
        }
    }
}
