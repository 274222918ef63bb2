import BlockStorage
import Foundation
import Glibc
import Synchronization
import TestTools
import Testing
import Tiering

@testable import Datastore

/// Images that go, or cannot be opened: what the log has of them is forgotten when the server has removed them, and then
/// only.
@Suite(.serialized)
struct RemovedImagesTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    /// Whatever the log is told of the removed image, the directory is durable by then: a power failure never leaves the file
    /// without its blocks.
    @Test(.enabled(if: isRoot, "mounts a file system"), arguments: [false, true])
    func redirectsGoAfterTheNameIsGoneDurably(byRenaming: Bool) throws {
        try bed.withFileSystem { namesOnDisk in
            try bed.serve(.writeback) { datastore, handle in
                _ = try bed.redirect(datastore, handle)
                let root = try bed.root(datastore)
                let seen = Mutex<[String]>([])
                let inode = try datastore.getAttributes(handle, as: .root).fileid
                bed.faults.atFlush.withLock {
                    $0 = { seen.withLock { $0.append((try? namesOnDisk()) ?? "unreadable") } }
                }
                if byRenaming {
                    _ = try datastore.rename(root, FileName("other.img"), to: root, FileName("disk.img"), as: .root)
                } else {
                    _ = try datastore.remove(root, FileName("disk.img"), as: .root)
                }
                for _ in 0..<400 where !datastore.tier.register.entries.isEmpty { usleep(50_000) }
                bed.faults.atFlush.withLock { $0 = nil }
                #expect(datastore.tierStatus().liveBytes == 0)
                #expect(datastore.tier.register.entries.isEmpty)
                let names = seen.withLock { $0 }
                #expect(!names.isEmpty, "the log is told")
                for name in names { #expect(name != "unreadable" && !name.contains("\(inode) "), "\(name)") }
            }
        }
    }

    /// The server ended between the removal and the log's being told.
    @Test(arguments: [false, true]) func aRemovalOnRecordIsSettledAtTheNextStart(isGone: Bool) throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let image = try #require(datastore.tier.register.entries.keys.first)
            try datastore.tier.register.changeImages { $0[image]?.isBeingRemoved = true }
        }
        if isGone { unlink(bed.path("disk.img")) }
        for _ in 0..<2 {
            try bed.serve(.writeback, handleOf: isGone ? "other.img" : "disk.img") { datastore, handle in
                #expect(datastore.tierStatus().liveBytes == (isGone ? 0 : 4096))
                #expect(datastore.tier.register.images.values.allSatisfy { !$0.isBeingRemoved })
                if !isGone { try #expect(bed.read(offset, handle, datastore) == RedirectBed.content) }
            }
        }
    }

    /// Nothing but an error says that the file is gone: it may come back.
    @Test func anImageThatCannotBeOpenedKeepsItsBlocks() throws {
        try bed.serve(.writeback) { datastore, handle in _ = try bed.redirect(datastore, handle) }
        unlink(bed.path("disk.img"))
        for _ in 0..<2 {
            try bed.serve(.writeback, drainTimeout: .seconds(5), handleOf: "other.img") { datastore, _ in
                let status = datastore.tierStatus()
                #expect(status.liveBytes == 4096 && status.images.map(\.isOrphaned) == [true])
                #expect(status.images.first?.path == bed.path("disk.img"))
                #expect(status.images.first?.reason?.contains("cannot be opened") == true)
                #expect(failure { try datastore.drain() } != nil)
                #expect(failure { try datastore.detachTier() } != nil)
                #expect(failure { try datastore.forget("other.img") } == .noEntry)
            }
        }
        try bed.serve(.writeback, handleOf: "other.img") { datastore, _ in
            try datastore.forget("disk.img")
            #expect(datastore.tierStatus().liveBytes == 0 && datastore.tierStatus().images.isEmpty)
            try datastore.drain()
            #expect(failure { try datastore.forget("disk.img") } == .noEntry)
        }
    }

    /// The service of all others goes on without a log that fails, and the blocks of the one are kept.
    @Test func oneThatCannotBeOpenedKeepsNoOtherInAFailedLog() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let other = try bed.handle("other.img", datastore)
            try bed.write(1, at: bed.inodeTable(datastore, other, "other.img") + 8192, other, datastore)
        }
        unlink(bed.path("disk.img"))
        try bed.serve(.writeback, handleOf: "other.img") { datastore, other in
            bed.faults.writesFail.store(true, ordering: .relaxed)
            try bed.write(2, at: offset, other, datastore)
            #expect(datastore.tierStatus().state == .failed)
            try #expect(bed.readFile(offset, "other.img").first == 2)
            try bed.write(3, at: offset, other, datastore)
            #expect(datastore.tierStatus().images.map(\.isOrphaned) == [true])
            bed.faults.writesFail.store(false, ordering: .relaxed)
        }
        try bed.serve(.writeback, handleOf: "other.img") { datastore, other in
            try #expect(bed.read(offset, other, datastore).first == 3)
            #expect(datastore.tierStatus().images.map(\.isOrphaned) == [true])
            #expect(datastore.tierStatus().liveBytes == 4096)
        }
    }

    /// What somebody else removes while it is open is seen without a name.
    @Test func anImageThatIsRemovedOnTheServerIsForgotten() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            unlink(bed.path("disk.img"))
            #expect(failure { try bed.read(offset, handle, datastore) } == .stale)
            for _ in 0..<200 where !datastore.tier.register.entries.isEmpty { usleep(50_000) }
            #expect(datastore.tierStatus().liveBytes == 0 && datastore.tier.register.entries.isEmpty)
        }
    }

    @Test func withoutALogNothingIsAttachedOrDetached() throws {
        try bed.serve(nil) { datastore, _ in
            #expect(failure { try datastore.attachTier() } == .invalidArgument)
            #expect(failure { try datastore.detachTier() } == .invalidArgument)
            #expect(failure { try datastore.detachTier(givingUp: true) } == .invalidArgument)
        }
        try bed.serve(.writeback) { datastore, _ in
            try datastore.detachTier()
            #expect(failure { try datastore.detachTier() } == .invalidArgument)
            try datastore.attachTier()
        }
    }

    /// What is on record is the removal of an image, not of one of its names.
    @Test func whatHasAnotherNameIsNotAnnouncedAsRemoved() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let image = try #require(ImageIdentity(handle))
            let path = try #require(datastore.tier.register.entry(image)?.path)
            link(bed.path("disk.img"), bed.path("second"))
            let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
            _ = try datastore.remove(root, "second", as: .root)
            #expect(datastore.tier.register.entry(image)?.path == path)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    @Test func aRemovalThatFailedLeavesNoLongPathInTheRegister() throws {
        try bed.serve(.writeback) { datastore, handle in
            _ = try bed.redirect(datastore, handle)
            let image = try #require(ImageIdentity(handle))
            let path = ByteString([UInt8](repeating: 0xE4, count: 4000))
            try datastore.tier.beginRemoval(of: image, from: path)
            #expect(datastore.tier.register.entry(image)?.path == path, "by it the next start finds out")
            datastore.tier.endRemoval(of: image)
            let entry = try #require(datastore.tier.register.entry(image))
            #expect(!entry.isBeingRemoved && entry.path.bytes.count <= 256)
        }
    }
}
