import BlockStorage
import Glibc
import Synchronization
import TestTools
import Testing
import Tiering

@testable import Datastore

/// What administrators do with the fast device, and what the server does when it fails.
@Suite(.serialized)
struct TierAdministrationTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    @Test func aDrainMovesEverythingOrOneImage() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            try datastore.drain(bed.path("other.img"))
            #expect(datastore.tierStatus().images.map(\.path) == [bed.path("disk.img")])
            try datastore.drain(bed.path("disk.img"))
            #expect(datastore.tierStatus().liveBytes == 0)
            try #expect(bed.readFile(offset) == RedirectBed.content)
            _ = try bed.redirect(datastore, handle)
            try datastore.drain()
            #expect(datastore.tierStatus().images.isEmpty)
            #expect(failure { try datastore.drain(bed.path("none.img")) } == .noEntry)
        }
    }

    @Test func aDetachedLogCountsNoMoreAndAnAttachedOneBeginsAnew() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            #expect(failure { try datastore.attachTier() } == .invalidArgument)
            try datastore.detachTier()
            #expect(datastore.tierStatus().state == .detached)
            try #expect(bed.readFile(offset) == RedirectBed.content)
            try bed.write(1, at: offset, handle, datastore)
            try #expect(bed.readFile(offset).first == 1)
            try datastore.attachTier()
            #expect(datastore.tierStatus().state == .attached)
            try #expect(bed.read(offset, handle, datastore).first == 1)
            try bed.write(2, at: offset, handle, datastore)
            try #expect(bed.readFile(offset).first == 1)
            try #expect(bed.read(offset, handle, datastore).first == 2)
        }
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore).first == 2)
            try datastore.detachTier()
        }
        // Its blocks are in the images, which change without it.
        try bed.serve(nil) { datastore, handle in
            #expect(datastore.tierStatus().state == .none)
            try bed.write(3, at: offset, handle, datastore)
        }
        try bed.serve(.writeback) { datastore, handle in
            #expect(datastore.tierStatus().liveBytes == 0)
            try #expect(bed.read(offset, handle, datastore).first == 3)
        }
    }

    @Test func aLogThatImagesDoNotNeedIsVoidOnceTheyChangeWithoutIt() throws {
        var offset = 0
        try bed.serve(.writethrough) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            #expect(datastore.tierStatus().liveBytes == 4096)
        }
        try bed.serve(nil) { datastore, handle in try bed.write(1, at: offset, handle, datastore) }
        try bed.serve(.writethrough, drainTimeout: .seconds(60)) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore).first == 1)
        }
        try #expect(bed.readFile(offset).first == 1)
    }

    @Test func theServiceGoesOnWithoutALogThatFails() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            bed.faults.writesFail.store(true, ordering: .relaxed)
            // The write that meets the failure has the log's blocks moved, and goes to the image itself.
            try bed.write(1, at: offset + 4096, handle, datastore)
            #expect(datastore.tierStatus().state == .failed)
            try #expect(bed.readFile(offset) == RedirectBed.content)
            try #expect(bed.readFile(offset + 4096).first == 1)
            try bed.write(2, at: offset, handle, datastore)
            try #expect(bed.read(offset, handle, datastore).first == 2)
            // It stays failed until an administrator says otherwise.
            bed.faults.writesFail.store(false, ordering: .relaxed)
            try bed.write(3, at: offset, handle, datastore)
            try #expect(bed.readFile(offset).first == 3)
            #expect(datastore.tierStatus().state == .failed)
        }
        // What the device still holds is older than the image.
        try bed.serve(.writeback) { datastore, handle in
            #expect(datastore.tierStatus().liveBytes == 0)
            try #expect(bed.read(offset, handle, datastore).first == 3)
        }
    }

    @Test func aFailedLogIsAttachedAgain() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            bed.faults.writesFail.store(true, ordering: .relaxed)
            try bed.write(1, at: offset, handle, datastore)
            bed.faults.writesFail.store(false, ordering: .relaxed)
            try datastore.detachTier()
            try datastore.attachTier()
            #expect(datastore.tierStatus().state == .attached)
            try bed.write(2, at: offset, handle, datastore)
            #expect(datastore.tierStatus().liveBytes == 4096)
            try #expect(bed.read(offset, handle, datastore).first == 2)
        }
    }

    @Test func blocksThatCannotBeReadAreLostOnlyWhenToldTo() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let before = try bed.readFile(offset)
            bed.faults.writesFail.store(true, ordering: .relaxed)
            bed.faults.readsFail.store(true, ordering: .relaxed)
            #expect(failure { try bed.write(1, at: offset, handle, datastore) } == .io)
            #expect(failure { try datastore.detachTier() } != nil)
            try #expect(bed.readFile(offset) == before)
            let verifier = datastore.writeVerifier
            try datastore.detachTier(givingUp: true)
            #expect(datastore.writeVerifier != verifier)
            try #expect(bed.read(offset, handle, datastore) == before)
            try bed.write(2, at: offset, handle, datastore)
            try #expect(bed.readFile(offset).first == 2)
        }
    }

    @Test func aMissingLogIsAttachedWhenItIsBackOrGivenUp() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        let (log, elsewhere) = ("\(bed.directory)/ssd/redirect.log", "\(bed.directory)/elsewhere")
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(datastore.tierStatus().state == .missing)
            #expect(datastore.tierStatus().images.map(\.isRefused) == [true])
            rename(elsewhere, log)
            try datastore.attachTier()
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try datastore.detachTier() } != nil)
            try datastore.detachTier(givingUp: true)
            try #expect(bed.read(offset, handle, datastore) != RedirectBed.content)
            rename(elsewhere, log)
            try datastore.attachTier()
            try #expect(bed.read(offset, handle, datastore) != RedirectBed.content, "what was given up is gone")
        }
    }

    /// Also one of which the log has nothing any more.
    @Test func whatIsServedOnceTheLogIsBackIsLookedInto() throws {
        try bed.serve(.writeback) { datastore, handle in
            _ = try bed.redirect(datastore, handle)
            try datastore.drain()
            let other = try bed.handle("other.img", datastore)
            try bed.write(1, at: bed.inodeTable(datastore, other, "other.img"), other, datastore)
            #expect(datastore.tier.register.entries.count == 2)
        }
        let (log, elsewhere) = ("\(bed.directory)/ssd/redirect.log", "\(bed.directory)/elsewhere")
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            datastore.openImages()
            for _ in 0..<400 where !bed.log.contains("disk.img: not looked into") { usleep(25_000) }
            rename(elsewhere, log)
            try datastore.attachTier()
            let path = bed.path("disk.img")
            for _ in 0..<400 where !datastore.files.sessions.contains(where: { $0.image.path == path }) {
                usleep(25_000)
            }
            #expect(datastore.files.sessions.contains { $0.image.path == path })
        }
    }

    /// Also when clients have it open by the handle of another export than the log knows it by.
    @Test func anImageThatIsInUseIsNotForgotten() throws {
        #expect(link(bed.path("disk.img"), "\(bed.directory)/export2/disk.img") == 0)
        let fails = Atomic(false)
        var configuration = DatastoreConfiguration(
            exports: ["export", "export2"].map { .init(path: "\(bed.directory)/\($0)") },
            stateDirectory: "\(bed.directory)/state")
        configuration.cacheSize = 1 << 20
        configuration.tier = .init(directories: ["\(bed.directory)/ssd"], mode: .writeback, size: 64 << 20)
        configuration.openFailure = { _ in fails.load(ordering: .relaxed) ? EMFILE : nil }
        let datastore = try Datastore(configuration: configuration, logger: .init(label: "test"))
        defer { datastore.close() }
        let handles = try (0..<2).map { try bed.handle("disk.img", datastore, export: $0) }
        let handle = try #require(handles.first { datastore.images.identity(of: $0) != ImageIdentity($0) })
        let offset = try bed.redirect(datastore, handle)
        fails.store(true, ordering: .relaxed)
        let image = try #require(datastore.tierStatus().images.first { $0.isOrphaned })
        #expect(failure { try datastore.forget(image.identity) } == .invalidArgument)
        fails.store(false, ordering: .relaxed)
        try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
    }

    /// An order that waited for another, which made it void, does no harm either.
    @Test(arguments: [false, true]) func blocksOfAHealthyImageStayWhateverIsSaidOfIt(keepingLog: Bool) throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let image = try #require(datastore.tier.register.entries.keys.first)
            let path = bed.path("disk.img")
            #expect(failure { try datastore.resolve(path, keepingLog: keepingLog) } == .invalidArgument)
            #expect(failure { try datastore.tier.resolve(image, keepingLog: keepingLog) {} } == .invalidArgument)
            #expect(failure { try datastore.tier.forgetOrphan(image) } == .invalidArgument)
            #expect(datastore.tierStatus().liveBytes == 4096)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }
}
