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
    }
}
