import BlockStorage
import Glibc
import TestTools
import Testing
import Tiering

@testable import Datastore

/// A fast device that is slow or full, and images on a disk that is full.
@Suite(.serialized)
struct SlowAndFullDeviceTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    /// A thin device that is full fails like any other: writes go on, to the image.
    @Test func aFullDeviceIsAFailedOne() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            bed.faults.writeError.store(ENOSPC, ordering: .relaxed)
            bed.faults.writesFail.store(true, ordering: .relaxed)
            try bed.write(1, at: offset, handle, datastore)
            #expect(datastore.tierStatus().state == .failed)
            try #expect(bed.readFile(offset).first == 1)
            bed.faults.writesFail.store(false, ordering: .relaxed)
            try datastore.detachTier()
            try datastore.attachTier()
            try bed.write(2, at: offset, handle, datastore)
            #expect(datastore.tierStatus().liveBytes == 4096)
        }
    }

    /// Writes that the log takes wait for its device; others, and reads, do not.
    @Test func aSlowDeviceKeepsNobodyElseWaiting() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let other = try bed.handle("other.img", datastore)
            bed.faults.flushTime.store(3_000_000, ordering: .relaxed)
            let slow = IOPool(name: "slow write", threadCount: 1)
            slow.submit { [bed] in _ = try? bed.write(1, at: offset, handle, datastore) }
            usleep(200_000)
            let start = ContinuousClock.now
            try bed.write(2, at: 0x40_0000, other, datastore)
            try bed.write(2, at: 0x40_0000, handle, datastore)
            for image in [handle, other] { _ = try bed.read(0, image, datastore) }
            #expect(start.duration(to: .now) < .seconds(2))
            slow.shutDown()
            bed.faults.flushTime.store(0, ordering: .relaxed)
            try #expect(bed.read(offset, handle, datastore).first == 1)
        }
    }

    /// Another's failure beside a stable write may have been that of its own sync, and not told.
    @Test(arguments: [false, true]) func aStableWriteBesideAFailureIsSyncedOnceMore(fails: Bool) throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let file = try datastore.openFile(handle)
            try file.flush()
            let isAtTheLog = Locked(false)
            bed.faults.atFlush.withLock { $0 = { isAtTheLog.withLock { $0 = true } } }
            bed.faults.flushTime.store(1_000_000, ordering: .relaxed)
            let slow = IOPool(name: "slow write", threadCount: 1)
            slow.submit { [bed] in
                do { try bed.write(1, at: offset, handle, datastore) } catch { Issue.record(error) }
            }
            for _ in 0..<3000 where !isAtTheLog.withLock({ $0 }) { usleep(10_000) }
            if fails { datastore.verifier.renew() }
            slow.shutDown()
            bed.faults.atFlush.withLock { $0 = nil }
            bed.faults.flushTime.store(0, ordering: .relaxed)
            #expect(file.isDirty == !fails)
        }
    }

    /// They stay in the log, are served from there, and go to the image when there is room.
    @Test func blocksWaitInTheLogForRoomOnTheImagesDisk() throws {
        let export = "\(bed.directory)/export"
        try runTool("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", export])
        defer { _ = try? runTool("umount", ["--lazy", export]) }
        try runTool("mke2fs", ["-q", "-t", "ext4", "-E", "lazy_itable_init=1", "-F", bed.path("disk.img"), "64M"])
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            _ = try? runTool("dd", ["if=/dev/zero", "of=\(export)/filler", "bs=64k", "status=none"])
            #expect(failure { try datastore.drain() } == .noSpace)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            try bed.write(1, at: offset, handle, datastore)
            try #expect(bed.read(offset, handle, datastore).first == 1)
            unlink("\(export)/filler")
            try datastore.drain()
            try #expect(bed.readFile(offset).first == 1)
        }
    }
}
