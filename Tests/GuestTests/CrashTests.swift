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

        /// A guest writes files, each with fsync, while the server with its redirect log is killed again and again, and
        /// the log's file system is filled up in the middle. `INTROSPECT_KILLS=200` kills it so many times.
        @Test func aGuestsFilesSurviveKillsOfAServerWithARedirectLog() throws {
            let kills = getenv("INTROSPECT_KILLS").flatMap { Int(String(cString: $0)) } ?? 3
            let filesPerKill = 20
            let count = (kills + 1) * filesPerKill
            // Later files take the places of earlier ones, so that any number of rounds fits the image.
            let places = 350
            let options = ["--ssd", "DIR/ssd", "--ssd-mode", "writeback", "--ssd-size", "64M"]
            try Bed.with { host in
                let bed = try GuestBed(on: host, serverOptions: options)
                let device = try bed.temporary.makeDirectory("ssd")
                _ = try Mount("ssd", on: device, type: "tmpfs", options: "size=80M", bed: host)
                let server = try #require(bed.server as? IntrospectServer)
                let image = bed.exported("disk.img")
                try run("truncate", "--size", "64M", image)
                try run("mke2fs", "-q", "-F", "-t", "ext3", image)
                try server.start()
                _ = try server.waitUntilIntrospectionRests(upTo: 60)
                var last = 0
                var killed = 0
                var failure: (any Error)?
                let script = """
                    \(bed.mountExport)
                    loop=$(losetup --find --show --direct-io=on /mnt/nfs/disk.img)
                    mount -t ext3 $loop /mnt/guest
                    for i in $(seq 1 \(count)); do
                        mkdir -p /mnt/guest/d$((i % 7))
                        seq $i $((i + 2000)) > /mnt/guest/d$((i % 7))/f$((i % \(places)))
                        sync /mnt/guest/d$((i % 7))/f$((i % \(places)))
                        echo "synced $i"
                    done
                    umount /mnt/guest
                    losetup -d $loop
                    umount /mnt/nfs
                    \(bed.mountExport)
                    loop=$(losetup --find --show --direct-io=on --read-only /mnt/nfs/disk.img)
                    mount -t ext3 -o ro $loop /mnt/guest
                    for i in $(seq \(max(1, count - places + 1)) \(count)); do
                        seq $i $((i + 2000)) | cmp - /mnt/guest/d$((i % 7))/f$((i % \(places))) && echo "intact $i"
                    done
                    umount /mnt/guest
                    losetup -d $loop
                    umount /mnt/nfs
                    """
                let said = try bed.guest.run(script, timeLimit: Double(200 + 30 * kills)) { line in
                    guard line.hasPrefix("synced "), failure == nil, let number = Int(line.dropFirst(7)) else { return }
                    #expect(number == last + 1)
                    last = number
                    guard number.isMultiple(of: filesPerKill), killed < kills else { return }
                    killed += 1
                    do {
                        try server.kill()
                        if killed == (kills + 1) / 2 { try fill(device) }
                        try server.start()
                    } catch {
                        failure = error
                    }
                }
                if let failure { throw failure }
                #expect(last == count)
                let intact = said.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("intact ") }
                #expect(intact.count == min(count, places))
                let recoveries = server.log.split(separator: "\n").filter { $0.contains(": recovered in ") }
                #expect(recoveries.count == kills + 1)
                #expect(recoveries.contains { !$0.contains(": 0 bytes") }, "the log was never used")
                try server.stop()
                #expect(!server.log.contains("stay in the log"))
                try run("e2fsck", "-fn", image)
            }
        }

        /// Fills up the file system of a directory.
        private func fill(_ directory: String) throws {
            let status = try Command(["dd", "if=/dev/zero", "of=\(directory)/filler", "bs=64k"]).result().status
            #expect(status != 0, "the file system was not full")
        }
    }
}
