import BlockStorage
import Glibc
import TestTools
import Testing

@testable import Datastore

/// What administrators are told of a log that has failed, or of images that are refused: which image, and the way out.
@Suite(.serialized)
struct TierMessagesTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    private func message(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch {
            return (error as? DatastoreError)?.message
        }
    }

    @Test func aFailedLogSaysWhatIsLostAndHow() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            bed.faults.writesFail.store(true, ordering: .relaxed)
            bed.faults.readsFail.store(true, ordering: .relaxed)
            #expect(failure { try bed.write(1, at: offset, handle, datastore) } == .io)
            let status = datastore.tierStatus()
            #expect(status.state == .failed)
            let reason = try #require(status.images.first).reason
            #expect(reason?.contains("the log has failed") == true && reason?.contains("--give-up") == true)
            let attaching = message { try datastore.attachTier() }
            #expect(attaching?.contains("has failed") == true && attaching?.contains("--give-up") == true)
            let detaching = message { try datastore.detachTier() }
            #expect(detaching?.contains("--give-up") == true)
        }
        #expect(bed.log.contains("4096 bytes are in the redirect log alone, which has failed"))
        #expect(!bed.log.contains("stay safely"))
    }

    /// The kernel's name of an open file tells nobody which image it is.
    @Test(.enabled(if: isRoot, "mounts a file system")) func anImageThatCannotBeWrittenIsNamedByItsPath() throws {
        try bed.withFileSystem { _ in
            try bed.serve(.writeback) { datastore, handle in
                _ = try bed.redirect(datastore, handle)
                try runTool("chattr", ["+i", bed.path("disk.img")])
                defer { _ = try? runTool("chattr", ["-i", bed.path("disk.img")]) }
                // Its time of change is another now.
                datastore.files.noteExternalChange(of: try datastore.openFile(handle))
                for order in [{ try datastore.drain() }, { try datastore.detachTier() }] as [() throws -> Void] {
                    let message = message(order)
                    #expect(message?.contains("\(bed.path("disk.img")): open: ") == true, "\(message ?? "")")
                }
                // The destager tries when nobody has written for two seconds.
                for _ in 0..<1200 where !bed.log.contains(bed.path("disk.img")) { usleep(25_000) }
            }
        }
        #expect(bed.log.contains(bed.path("disk.img")))
        #expect(bed.log.all.filter { $0.contains("/proc/self") } == [])
    }

    @Test func imagesOfAnExportThatIsServedElsewhereSayWhereItWas() throws {
        try bed.serve(.writeback) { datastore, handle in _ = try bed.redirect(datastore, handle) }
        try #require(rename("\(bed.directory)/export", "\(bed.directory)/moved") == 0)
        try bed.serve(.writeback, exports: ["moved"]) { datastore, handle in
            #expect(failure { try bed.read(0, handle, datastore) } == .io)
            let status = datastore.tierStatus()
            #expect(status.images.map(\.path) == [bed.path("disk.img")])
            #expect(status.images.first?.reason?.contains("serve it where it was") == true)
            datastore.openImages()
            let path = "\(bed.directory)/moved/disk.img"
            for _ in 0..<400 where !bed.log.contains("\(path): ") { usleep(25_000) }
            #expect(bed.log.contains("\(path): not looked into while it is refused"))
        }
        #expect(bed.log.contains("\(bed.path("disk.img")): refused by whatever name"))
        #expect(!bed.log.contains("cannot be opened"))
    }

    /// They wait for an administrator's word alone: the log can give every one of them.
    @Test func blocksOfAnImageThatWaitsForADecisionAreNotGivenUp() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let file = try #require(datastore.files.file(for: handle))
            #expect(file.redirects?.noteForeignChange(path: file.path) == true)
            let message = message { try datastore.detachTier(givingUp: true) }
            #expect(message?.hasPrefix("\(bed.path("disk.img")): ") == true, "\(message ?? "")")
            #expect(message?.contains("4096 bytes") == true && message?.contains("tier resolve") == true)
            #expect(datastore.tierStatus().state == .attached)
            try datastore.resolve(bed.path("disk.img"), keepingLog: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// By its time it is told, when the log is back, whether another program has written to it.
    @Test(arguments: [AttributeChanges.Time.now, .at(FileTime(seconds: 1_000_000_000, nanoseconds: 0))])
    func aTimeIsNotSetOnAnImageThatIsRefused(time: AttributeChanges.Time) throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try bed.serve(nil) { datastore, handle in
            let changes = AttributeChanges(modificationTime: time)
            #expect(failure { try datastore.setAttributes(handle, changes, guard: nil, as: .root) } == .io)
            // By these it is not told.
            let others = AttributeChanges(mode: 0o640, accessTime: .now)
            #expect(failure { try datastore.setAttributes(handle, others, guard: nil, as: .root) } == nil)
        }
        try bed.serve(.writeback) { datastore, handle in
            #expect(datastore.tierStatus().images.map(\.isRefused) == [false])
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }
}
