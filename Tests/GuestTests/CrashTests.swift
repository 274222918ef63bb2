import Glibc
import TestBed
import Testing

extension GuestTests {
    struct CrashTests {
        @Test func aKilledServerHasWhatItAcknowledgedAndTheClientGoesOn() throws {
            try GuestBed.with { bed in
                let tool = try Executable.path(of: "introspect-bench")
                let count = 600
                let killAt = [150, 300, 450]
                let file = bed.exported("file")
                var last = -1
                var failure: (any Error)?
                let script = """
                    \(bed.mountExport)
                    echo before > /mnt/nfs/open
                    exec 3< /mnt/nfs/open
                    \(tool) write-synchronously /mnt/nfs/file --count \(count)
                    echo "read through the old handle: $(cat <&3)"
                    exec 3<&-
                    umount /mnt/nfs
                    """
                let said = try bed.guest.run(script, timeLimit: 240) { line in
                    guard line.hasPrefix(SynchronousWriter.acknowledgement), failure == nil,
                        let number = Int(line.dropFirst(SynchronousWriter.acknowledgement.count))
                    else { return }
                    #expect(number == last + 1)
                    last = number
                    guard killAt.contains(number) else { return }
                    do {
                        try bed.server.kill()
                        #expect(try SynchronousWriter.missing(in: file, upTo: number) == [])
                        try bed.server.start()
                    } catch {
                        failure = error
                    }
                }
                if let failure { throw failure }
                #expect(last == count - 1)
                #expect(said.contains("read through the old handle: before"))
                #expect(try SynchronousWriter.missing(in: file, upTo: count - 1) == [])
            }
        }

        /// A guest makes files, each with fsync, while the server with its redirect log is killed again and again.
        @Test func aGuestsFilesSurviveKillsOfAServerWithARedirectLog() throws {
            let options = ["--ssd", "DIR", "--ssd-mode", "writeback", "--ssd-size", "64M"]
            try GuestBed.with(serverOptions: options) { bed in
                let server = try #require(bed.server as? IntrospectServer)
                let count = 160
                let killAt = [20, 45, 70, 95, 120, 145]
                let image = bed.exported("disk.img")
                try run("truncate", "--size", "64M", image)
                try run("mke2fs", "-q", "-F", "-t", "ext3", image)
                try server.stop()
                try server.start()
                _ = try server.waitUntilIntrospectionRests(upTo: 60)
                var last = 0
                var failure: (any Error)?
                let script = """
                    \(bed.mountExport)
                    loop=$(losetup --find --show --direct-io=on /mnt/nfs/disk.img)
                    mount -t ext3 $loop /mnt/guest
                    for i in $(seq 1 \(count)); do
                        mkdir -p /mnt/guest/d$((i % 7))
                        seq $i $((i + 2000)) > /mnt/guest/d$((i % 7))/f$i
                        sync /mnt/guest/d$((i % 7))/f$i
                        echo "synced $i"
                    done
                    umount /mnt/guest
                    losetup -d $loop
                    umount /mnt/nfs
                    \(bed.mountExport)
                    loop=$(losetup --find --show --direct-io=on --read-only /mnt/nfs/disk.img)
                    mount -t ext3 -o ro $loop /mnt/guest
                    for i in $(seq 1 \(count)); do
                        seq $i $((i + 2000)) | cmp - /mnt/guest/d$((i % 7))/f$i && echo "intact $i"
                    done
                    umount /mnt/guest
                    losetup -d $loop
                    umount /mnt/nfs
                    """
                let said = try bed.guest.run(script, timeLimit: 300) { line in
                    guard line.hasPrefix("synced "), failure == nil, let number = Int(line.dropFirst(7)) else { return }
                    #expect(number == last + 1)
                    last = number
                    guard killAt.contains(number) else { return }
                    do {
                        try server.kill()
                        try server.start()
                    } catch {
                        failure = error
                    }
                }
                if let failure { throw failure }
                #expect(last == count)
                #expect((1...count).allSatisfy { said.contains("intact \($0)\n") || said.contains("intact \($0)\r") })
                let recoveries = server.log.split(separator: "\n").filter { $0.contains(": recovered in ") }
                #expect(recoveries.count == killAt.count + 2)
                #expect(recoveries.contains { !$0.contains(": 0 bytes") }, "the log was never used")
                try server.stop()
                #expect(!server.log.contains("stay in the log"))
                try run("e2fsck", "-fn", image)
            }
        }
    }
}
