import Glibc
import TestTools
import Testing

@testable import Datastore

/// What the log alone has of an image that no register names would be lost without a word when the log is away: an image
/// that cannot be registered goes without the log.
@Suite(.serialized, .enabled(if: isRoot, "mounts file systems")) struct UnregisteredImagesTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    /// Calls `body` with the state directory on a file system of its own, which `body` can fill up.
    private func withStateDirectory(_ body: (_ setFull: (Bool) throws -> Void) throws -> Void) throws {
        let state = "\(bed.directory)/state"
        mkdir(state, 0o700)
        try runTool("mount", ["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", state])
        defer { _ = try? runTool("umount", ["--lazy", state]) }
        try body { isFull in
            guard isFull else { return try #require(unlink("\(state)/filler") == 0) }
            _ = try? runTool("dd", ["if=/dev/zero", "of=\(state)/filler", "bs=4k", "status=none"])
        }
    }

    @Test func anImageThatCannotBeRegisteredIsWrittenItself() throws {
        try withStateDirectory { setFull in
            var (offset, later) = (0, 0)
            try bed.serve(.writeback) { datastore, handle in
                offset = try bed.redirect(datastore, handle)
                let other = try bed.handle("other.img", datastore)
                later = try bed.inodeTable(datastore, other, "other.img") + 8192
                let redirects = try #require(datastore.openFile(other).redirects)
                try setFull(true)

                let verifier = datastore.writeVerifier
                let result = try bed.write(1, at: later, other, datastore)
                #expect(result.committed == .fileSync && result.verifier == verifier)
                #expect(datastore.writeVerifier == verifier)
                try #expect(bed.readFile(later, "other.img").first == 1)
                try #expect(bed.read(later, other, datastore).first == 1)
                #expect(!redirects.hasAny && !datastore.tier.register.contains(redirects.image))
                // That is no fault of the log, which has the others', and is told nevertheless.
                let status = datastore.tierStatus()
                #expect(status.state == .attached)
                #expect(status.failure?.contains("not registered go without the log") == true)
                try bed.write(2, at: offset, handle, datastore)
                #expect(datastore.tierStatus().liveBytes == 4096)

                try setFull(false)
                try bed.write(3, at: later, other, datastore)
                #expect(redirects.hasAny && datastore.tier.register.contains(redirects.image))
                #expect(datastore.tierStatus().failure == nil)
            }
            try bed.serve(.writeback) { datastore, handle in
                try #expect(bed.read(offset, handle, datastore).first == 2)
                try #expect(bed.read(later, bed.handle("other.img", datastore), datastore).first == 3)
            }
        }
    }
}
