import BlockStorage
import Dispatch
import Foundation
import Glibc
import NIOCore
import TestTools
import Testing
import Tiering

@testable import Datastore

/// Files with redirected blocks that get other names, go, or are replaced; and logs on several devices.
@Suite(.serialized)
struct RedirectedFilesTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    @Test func aFileInTwoExportsHasItsBlocksInOnePlace() throws {
        #expect(link(bed.path("disk.img"), "\(bed.directory)/export2/disk.img") == 0)
        var offset = 0
        try bed.serve(.writeback, exports: ["export", "export2"]) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let other = try bed.handle("disk.img", datastore, export: 1)
            try #expect(bed.read(offset, other, datastore) == RedirectBed.content)
        }
        for exports in [["export2", "export"], ["export", "export2"]] {
            try bed.serve(.writeback, exports: exports) { datastore, handle in
                try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
                let other = try bed.handle("disk.img", datastore, export: 1)
                try #expect(bed.read(offset, other, datastore) == RedirectBed.content)
            }
        }
        var served = 0
        for exports in [["export"], ["export2"]] {
            try bed.serve(.writeback, exports: exports) { datastore, handle in
                // Under the name that the log knows it is served, under the other refused: never the older blocks.
                guard let bytes = try? bed.read(offset, handle, datastore) else { return }
                served += 1
                #expect(bytes == RedirectBed.content)
            }
        }
        #expect(served == 1)
    }

    /// The file is not open when its size is set, and its first WRITE comes when its blocks are just being moved to it.
    @Test func aFirstWriteBesideATruncationLeavesNothingRedirectedPastTheEnd() throws {
        try bed.serve(.writeback) { datastore, handle in
            // Nothing but the truncation moves blocks.
            datastore.tier.stopping.store(true, ordering: .relaxed)
            let offset = try bed.redirect(datastore, handle)
            datastore.files.forget(try #require(datastore.files.file(for: handle)).identity)
            #expect(datastore.files.file(for: handle) == nil && datastore.tierStatus().liveBytes > 0)
            let writer = IOPool(name: "writer", threadCount: 1)
            let hasWritten = DispatchSemaphore(value: 0)
            bed.faults.afterRead.withLock { hook in
                hook = { [bed] in
                    writer.submit {
                        do {
                            try bed.write(0x55, at: offset, handle, datastore)
                        } catch {
                            Issue.record(error)
                        }
                        hasWritten.signal()
                    }
                    // It ends before the truncation, or waits for it.
                    _ = hasWritten.wait(timeout: .now() + .milliseconds(500))
                }
            }
            let cut = AttributeChanges(size: UInt64(offset))
            _ = try datastore.setAttributes(handle, cut, guard: nil, as: .root)
            #expect(bed.faults.afterRead.withLock { $0 == nil })
            writer.shutDown()
            let isWrittenLast = try datastore.getAttributes(handle, as: .root).size > UInt64(offset)
            let longer = AttributeChanges(size: UInt64(offset) + 65536)
            _ = try datastore.setAttributes(handle, longer, guard: nil, as: .root)
            try #expect(bed.read(offset, handle, datastore).allSatisfy { $0 == (isWrittenLast ? 0x55 : 0) })
        }
    }

    @Test func aHardLinkKeepsRedirectsUntilTheLastNameGoes() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let root = try bed.root(datastore)
            _ = try datastore.link(handle, root, FileName("link.img"), as: .root)
            _ = try datastore.remove(root, FileName("disk.img"), as: .root)
            let linked = try bed.handle("link.img", datastore)
            try #expect(bed.read(offset, linked, datastore) == RedirectBed.content)
            _ = try datastore.remove(root, FileName("link.img"), as: .root)
            bed.expectEmptyLog(datastore)
        }
    }

    @Test func anImageThatIsRenamedOverTakesItsRedirectsWithIt() throws {
        let other = try bed.readFile(0, "other.img")
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let before = try bed.readFile(offset, "other.img")
            let root = try bed.root(datastore)
            _ = try datastore.rename(root, FileName("other.img"), to: root, FileName("disk.img"), as: .root)
            bed.expectEmptyLog(datastore)
            let renamed = try bed.handle("disk.img", datastore)
            try #expect(bed.read(offset, renamed, datastore) == before)
        }
        try #expect(bed.readFile(0) == other)
    }

    @Test(arguments: [false, true]) func redirectsAreNotLaidOverAFileThatTookTheName(whileServed: Bool) throws {
        var offset = 0
        let replace = {
            #expect(rename(bed.path("other.img"), bed.path("disk.img")) == 0)
        }
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            guard whileServed else { return }
            replace()
            bed.expectEmptyLog(datastore)
        }
        if !whileServed { replace() }
        let before = try bed.readFile(offset)
        #expect(before != RedirectBed.content)
        try bed.serve(.writeback) { datastore, handle in
            // Only what the server has seen without a name is known to be gone for good.
            #expect(datastore.tierStatus().liveBytes == (whileServed ? 0 : 4096))
            #expect(failure { try bed.read(offset, handle, datastore) } == (whileServed ? nil : .io))
            if whileServed { try #expect(bed.read(offset, handle, datastore) == before) }
            #expect((failure { try datastore.drain() } == nil) == whileServed)
        }
        try #expect(bed.readFile(offset) == before)
    }

    @Test func anImageMayHaveMoreThanTheLogHolds() throws {
        try runTool(
            "mke2fs",
            ["-q", "-t", "ext3", "-b", "4096", "-I", "256", "-N", "32768", "-F", bed.path("disk.img"), "128M"])
        let count = 64 << 10
        try bed.serve(.writeback) { datastore, handle in
            let start = try bed.inodeTable(datastore, handle).aligned(to: count)
            for round in 1...12 {
                for part in 0..<(6 << 20) / count {
                    _ = try datastore.write(
                        handle, offset: UInt64(start + part * count),
                        bytes: ByteBuffer(repeating: UInt8(round + part % 7), count: count), stability: .fileSync,
                        as: .root)
                }
            }
            try #expect(bed.read(start + 70 * count, handle, datastore).first == 12)
            try datastore.drain()
            for part in 0..<(6 << 20) / count {
                try #expect(bed.readFile(start + part * count).first == UInt8(12 + part % 7))
            }
        }
    }

    @Test func aMirrorLosesNothingWithOneSide() throws {
        let sides = ["ssd", "ssd2"]
        var offset = 0
        try bed.serve(.writeback, ssd: sides, isMirrored: true) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
        }
        try rot("ssd")
        try bed.serve(.writeback, ssd: sides, isMirrored: true) { datastore, handle in
            #expect(datastore.tierStatus().state == .attached)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
        // Recovery wrote the last commit to both sides again: now the one that had rotted serves alone.
        rename("\(bed.directory)/ssd2/redirect.log", "\(bed.directory)/elsewhere")
        try bed.serve(.writeback, ssd: sides, isMirrored: true) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            #expect(datastore.tierStatus().state == .failed)
            try datastore.detachTier()
            try #expect(bed.readFile(offset) == RedirectBed.content)
            try datastore.attachTier()
            #expect(datastore.tierStatus().state == .attached)
        }
    }

    @Test func aLogOverTwoDevicesNeedsBoth() throws {
        let parts = ["ssd", "ssd2"]
        var offset = 0
        try bed.serve(.writeback, ssd: parts) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try bed.serve(.writeback, ssd: parts) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
        rename("\(bed.directory)/ssd2/redirect.log", "\(bed.directory)/elsewhere")
        try bed.serve(.writeback, ssd: parts) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
        }
        #expect(access("\(bed.directory)/ssd2/redirect.log", F_OK) != 0, "a log that is needed is never replaced")
    }

    /// Changes a byte of the redirected block in a log's file.
    private func rot(_ directory: String) throws {
        let log = try FileDevice(
            path: "\(bed.directory)/\(directory)/redirect.log", access: .readWrite, mode: .buffered)
        let bytes = Data(try log.read(ByteRange(offset: 0, length: log.size)))
        let start = try #require(bytes.range(of: Data(RedirectBed.content))).lowerBound
        try log.write([0x58], at: start)
        try log.flush()
    }

    /// Also when it was chosen before a write of it went to the log: nobody has to move its blocks to close it, who may be the
    /// destager itself.
    @Test func aFileWithRedirectedBlocksIsNotClosed() throws {
        try bed.serve(.writeback) { datastore, handle in
            _ = try bed.redirect(datastore, handle)
            let identity = try #require(datastore.files.file(for: handle)).identity
            // Who goes through the open files has them for a moment.
            for _ in 0..<40 {
                for session in datastore.files.sessions { datastore.files.end(session) }
                let closed = datastore.files.table.withLock { $0.removeUnused([identity]) }
                try #require(closed.isEmpty)
                usleep(10_000)
            }
        }
    }
}

extension Int {
    fileprivate func aligned(to alignment: Int) -> Int { (self + alignment - 1) / alignment * alignment }
}
