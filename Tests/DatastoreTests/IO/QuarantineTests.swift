import BlockStorage
import Dispatch
import Glibc
import NIOCore
import Synchronization
import TestTools
import Testing
import Tiering

@testable import Datastore

/// Images that another program writes to while the log has newer blocks of them: the log's are kept, and never laid over
/// what is not what they were written to.
@Suite(.serialized)
struct QuarantineTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    /// Copies the other image over the first, as an administrator does with a backup.
    private func restore(preservingTime: Bool = false) throws {
        let other = try FileDevice(path: bed.path("other.img"), access: .readOnly, mode: .buffered)
        let disk = try FileDevice(path: bed.path("disk.img"), access: .readWrite, mode: .buffered)
        try disk.write(other.read(ByteRange(offset: 0, length: other.size)), at: 0)
        guard preservingTime else { return }
        let past = timespec(tv_sec: 1_000_000_000, tv_nsec: 0)
        #expect(utimensat(AT_FDCWD, bed.path("disk.img"), [past, past], 0) == 0)
    }

    @Test(arguments: [false, true]) func blocksAreNotLaidOverARestoredBackup(preservingTime: Bool) throws {
        var offset = 0
        var backup: [UInt8] = []
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            backup = try bed.readFile(offset, "other.img")
            try restore(preservingTime: preservingTime)
            #expect(failure { try datastore.drain() } != nil)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(failure { try bed.write(1, at: offset, handle, datastore) } == .io)
            #expect(datastore.tierStatus().images.map(\.isRefused) == [true])
            try #expect(bed.readFile(offset) == backup)
        }
        // It stays so over a restart.
        try bed.serve(.writeback, drainTimeout: .seconds(10)) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(datastore.tierStatus().liveBytes == 4096)
        }
        try #expect(bed.readFile(offset) == backup)
        try bed.serve(.writeback) { datastore, handle in
            let verifier = datastore.writeVerifier
            try datastore.resolve(bed.path("disk.img"), keepingLog: false)
            #expect(datastore.writeVerifier != verifier)
            try #expect(bed.read(offset, handle, datastore) == backup)
            #expect(datastore.tierStatus().liveBytes == 0)
            #expect(failure { try datastore.resolve(bed.path("disk.img"), keepingLog: false) } == .invalidArgument)
            try #expect(bed.redirect(datastore, handle) == offset)
            try datastore.drain()
        }
        try #expect(bed.readFile(offset) == RedirectBed.content)
    }

    /// A client's first call after the change does not hide it.
    @Test(arguments: CoherenceTests.FirstCall.allCases)
    func blocksAreNotLaidOverAChange(beforeFirst call: CoherenceTests.FirstCall) throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            try restore()
            let backup = try bed.readFile(offset)
            try? call.make(handle, datastore)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(failure { try datastore.drain() } != nil)
            try #expect(bed.readFile(offset) == backup)
        }
    }

    /// It comes when the destager has just read from the log what it is about to lay over it.
    @Test func blocksAreNotLaidOverAChangeThatComesMeanwhile() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let backup = try bed.readFile(offset, "other.img")
            let isRestored = Mutex(false)
            bed.faults.afterRead.withLock { hook in
                hook = { isRestored.withLock { $0 = (try? restore()) != nil } }
            }
            #expect(failure { try datastore.drain() } != nil)
            #expect(isRestored.withLock { $0 })
            try #expect(bed.readFile(offset) == backup)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(datastore.tierStatus().liveBytes == 4096)
        }
    }

    /// It comes when blocks were moved to the image, and before the log drops them.
    @Test func theLogKeepsBlocksOverWhichAChangeCameMeanwhile() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let target = DestagedFile(
                try datastore.openFile(handle),
                on: try FileDevice(path: bed.path("disk.img"), access: .readWrite, mode: .buffered))
            try RedirectBed.content.withUnsafeBytes { try target.write($0, at: offset) }
            try target.flush()
            try restore()
            #expect(throws: StorageError.self) { try target.flush() }
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            try datastore.resolve(bed.path("disk.img"), keepingLog: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// What the destager is about to write when an image is refused does not come over what clients write once the file
    /// counts.
    @Test func whatIsBeingMovedIsNotLaidOverWhatIsWrittenOnceTheFileCounts() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let destager = try #require(datastore.tier.attachment?.destager)
            let (isHeld, goesOn, hasEnded) = (
                DispatchSemaphore(value: 0), DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)
            )
            bed.faults.beforeImageWrite.withLock { hook in
                hook = {
                    isHeld.signal()
                    goesOn.wait()
                }
            }
            let threads = IOPool(name: "test", threadCount: 2)
            threads.submit { try? destager.pass(sparing: 0) }
            #expect(isHeld.wait(timeout: .now() + 60) == .success)
            // Whoever finds another program's change does this, beside the step.
            let file = try datastore.openFile(handle)
            let image = try #require(file.redirects?.image)
            #expect(datastore.tier.noteForeignChange(of: image, path: file.path))
            file.refuse()
            datastore.files.forget(file.identity)
            let verifier = datastore.writeVerifier
            threads.submit { [bed] in
                #expect(failure { try datastore.resolve(bed.path("disk.img"), keepingLog: false) } == nil)
                #expect(failure { try bed.write(0x22, at: offset, handle, datastore) } == nil)
                hasEnded.signal()
            }
            for _ in 0..<6000 where datastore.writeVerifier == verifier { usleep(10_000) }
            #expect(hasEnded.wait(timeout: .now() + .milliseconds(500)) == .timedOut)
            goesOn.signal()
            #expect(hasEnded.wait(timeout: .now() + 60) == .success)
            threads.shutDown()
            try #expect(bed.read(offset, handle, datastore).allSatisfy { $0 == 0x22 })
            try datastore.drain()
            try #expect(bed.readFile(offset).allSatisfy { $0 == 0x22 })
        }
    }

    /// What the log has beyond the end that another program has given the file is there when the log counts.
    @Test func anImageThatWasCutHasItsLengthAgainWhenTheLogCounts() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            truncate(bed.path("disk.img"), off_t(offset))
            #expect(failure { try bed.read(offset - 4096, handle, datastore) } == .io)
            try datastore.resolve(bed.path("disk.img"), keepingLog: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            var status = stat()
            #expect(stat(bed.path("disk.img"), &status) == 0)
            #expect(Int(status.st_size) == offset + RedirectBed.content.count)
            try bed.write(3, at: offset, handle, datastore)
            try datastore.drain()
            try #expect(bed.readFile(offset).first == 3)
        }
    }

    /// Served short, its guest would find the end of its disk cut off.
    @Test(.enabled(if: isRoot, "mounts a file system")) func anImageWhoseLengthCannotBeSetStaysRefused() throws {
        try bed.withFileSystem { _ in
            try bed.serve(.writeback) { datastore, handle in
                let offset = try bed.redirect(datastore, handle)
                truncate(bed.path("disk.img"), off_t(offset))
                #expect(failure { try bed.read(0, handle, datastore) } == .io)
                try runTool("chattr", ["+i", bed.path("disk.img")])
                defer { _ = try? runTool("chattr", ["-i", bed.path("disk.img")]) }
                #expect(failure { try datastore.resolve(bed.path("disk.img"), keepingLog: true) } != nil)
                #expect(datastore.tierStatus().images.map(\.isRefused) == [true])
                #expect(failure { try bed.read(0, handle, datastore) } == .io)
                try runTool("chattr", ["-i", bed.path("disk.img")])
                try datastore.resolve(bed.path("disk.img"), keepingLog: true)
                try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            }
        }
    }

    /// Without time for draining a stop leaves blocks in the log.
    @Test(arguments: [false, true]) func aChangeWhileNoServerRunsIsFound(restored: Bool) throws {
        var offset = 0
        try bed.serve(.writeback, drainTimeout: .zero) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
        }
        // A rename changes nothing that counts.
        #expect(rename(bed.path("disk.img"), bed.path("renamed.img")) == 0)
        #expect(rename(bed.path("renamed.img"), bed.path("disk.img")) == 0)
        if restored { try restore(preservingTime: true) }
        for _ in 0..<2 {
            try bed.serve(.writeback, drainTimeout: .zero) { datastore, handle in
                #expect(datastore.tierStatus().images.map(\.isRefused) == [restored])
                if restored {
                    #expect(failure { try bed.read(offset, handle, datastore) } == .io)
                } else {
                    try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
                }
            }
        }
        try #expect(bed.readFile(offset) == bed.readFile(offset, "other.img"))
    }

    @Test func blocksThatTheImageHadAreForgottenAfterAChangeWhileNoServerRuns() throws {
        var offset = 0
        try bed.serve(.writethrough, drainTimeout: .zero) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
        }
        try restore()
        try bed.serve(.writethrough, drainTimeout: .seconds(10)) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == bed.readFile(offset, "other.img"))
        }
        try #expect(bed.readFile(offset) == bed.readFile(offset, "other.img"))
    }

    @Test func aGuestThatGoesOnWritingDoesNotHideTheChange() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            try restore()
            #expect(failure { try bed.write(1, at: 0x40_0000, handle, datastore) } == .io)
            #expect(failure { try bed.write(1, at: 0x40_0000, handle, datastore) } == .io)
            #expect(failure { try datastore.drain() } != nil)
            try #expect(bed.readFile(offset) == bed.readFile(offset, "other.img"))
        }
    }

    @Test func theLogMayCountAllTheSame() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            #expect(utimes(bed.path("disk.img"), nil) == 0)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            let verifier = datastore.writeVerifier
            try datastore.resolve(bed.path("disk.img"), keepingLog: true)
            #expect(datastore.writeVerifier != verifier)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            try datastore.drain()
            try #expect(bed.readFile(offset) == RedirectBed.content)
        }
    }

    /// Whoever closes what comes to be refused does not see a file that is just being opened.
    @Test func noFileStaysOpenThatIsRefusedWhileItIsOpened() throws {
        try bed.serve(.writeback) { datastore, handle in
            _ = try bed.redirect(datastore, handle)
            let file = try #require(datastore.files.file(for: handle))
            let (image, identity) = try (#require(file.redirects).image, file.identity)
            for round in 0..<100 {
                try datastore.tier.register.setQuarantined(false, image)
                let isOver = Mutex(false)
                let opener = DispatchGroup()
                DispatchQueue.global().async(group: opener) {
                    while !isOver.withLock({ $0 }) {
                        datastore.files.forget(identity)
                        _ = try? datastore.openFile(handle)
                    }
                }
                usleep(useconds_t(round * 10))
                try datastore.tier.register.setQuarantined(true, image)
                datastore.forgetRefusedImages()
                isOver.withLock { $0 = true }
                opener.wait()
                #expect(datastore.files.file(for: handle) == nil, "round \(round)")
            }
        }
    }

    @Test func anImageThatHasEverythingItselfIsServedOn() throws {
        try bed.serve(.writethrough) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            try restore()
            let backup = try bed.readFile(offset)
            try #expect(bed.read(offset, handle, datastore) == backup)
            try datastore.drain()
            try #expect(bed.readFile(offset) == backup)
        }
    }

    /// Whoever comes second must not go by what the first has still to forget.
    @Test(arguments: [false, true]) func readersBesideEachOtherSeeTheChange(isRedirected: Bool) throws {
        try bed.serve(.writethrough) { datastore, handle in
            let offset = isRedirected ? try bed.redirect(datastore, handle) : 0x40_0000
            let disk = try FileDevice(path: bed.path("disk.img"), access: .readWrite, mode: .buffered)
            for round in UInt8(1)...40 {
                let content = [UInt8](repeating: round, count: 4096)
                _ = try bed.read(offset, handle, datastore)
                // The time of change counts in ticks of some milliseconds on older kernels.
                usleep(10_000)
                try disk.write(content, at: offset)
                let wrong = Mutex(0)
                DispatchQueue.concurrentPerform(iterations: 8) { _ in
                    if (try? bed.read(offset, handle, datastore)) != content { wrong.withLock { $0 += 1 } }
                }
                #expect(wrong.withLock { $0 } == 0, "round \(round)")
            }
        }
    }

    @Test func otherImagesGoOnBesideOne() throws {
        try bed.serve(.writeback) { datastore, handle in
            _ = try bed.redirect(datastore, handle)
            let other = try bed.handle("other.img", datastore)
            let offset = try bed.inodeTable(datastore, other, "other.img")
            #expect(utimes(bed.path("disk.img"), nil) == 0)
            // More than the log holds, so that the destager must make room around what it may not touch.
            for round in 0..<3600 {
                let bytes = ByteBuffer(repeating: UInt8(truncatingIfNeeded: round), count: 16384)
                _ = try datastore.write(
                    other, offset: UInt64(offset), bytes: bytes, stability: .fileSync, as: .root)
            }
            let last = UInt8(truncatingIfNeeded: 3599)
            try #expect(bed.read(offset, other, datastore).first == last)
            #expect(datastore.tierStatus().images.contains { $0.path == bed.path("disk.img") && $0.isRefused })
            try datastore.drain(bed.path("other.img"))
            try #expect(bed.readFile(offset, "other.img").first == last)
        }
    }

    @Test func aRemovedImageTakesItsQuarantineWithIt() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            #expect(utimes(bed.path("disk.img"), nil) == 0)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            _ = try datastore.remove(try bed.root(datastore), FileName("disk.img"), as: .root)
            bed.expectEmptyLog(datastore)
            try datastore.drain()
        }
    }

    /// A server for which opening the image by its handle fails with what `failure` says.
    private func start(_ failure: @escaping @Sendable () -> Int32?) throws -> Datastore {
        var status = stat()
        try #require(stat(bed.path("disk.img"), &status) == 0)
        let inode = UInt64(status.st_ino)
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(bed.directory)/export")], stateDirectory: "\(bed.directory)/state")
        configuration.cacheSize = 1 << 20
        configuration.tier = .init(
            directories: ["\(bed.directory)/ssd"], mode: .writeback, size: 64 << 20, drainTimeout: .zero)
        configuration.openFailure = { $0 == inode ? failure() : nil }
        return try Datastore(configuration: configuration, logger: .init(label: "test"))
    }

    /// It is compared when somebody decides.
    @Test func anImageThatCouldNotBeComparedAtTheStartCanBeResolved() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try restore(preservingTime: true)
        let isAway = Atomic(true)
        let datastore = try start { isAway.load(ordering: .relaxed) ? EIO : nil }
        defer { datastore.close() }
        let image = try #require(datastore.tier.register.entries.keys.first)
        #expect(datastore.tier.register.entry(image)?.stopped != nil)
        isAway.store(false, ordering: .relaxed)
        try datastore.resolve(bed.path("disk.img"), keepingLog: false)
        let handle = try bed.handle("disk.img", datastore)
        try #expect(bed.read(offset, handle, datastore) == bed.readFile(offset, "other.img"))
    }

    /// Two threads compare an image that is in reach again; when the second looks, the first has let a client write to it.
    @Test func aClientsWriteIsNotTakenForAChangeWhileTheServerDidNotRun() throws {
        var offset = 0
        try self.bed.serve(.writeback) { datastore, handle in offset = try self.bed.redirect(datastore, handle) }
        let (place, bed) = (offset, self.bed)
        let isAway = Atomic(true)
        let between = Locked<(@Sendable () -> Void)?>(nil)
        let datastore = try start {
            if isAway.load(ordering: .relaxed) { return EIO }
            let body = between.withLock { $0.take() }
            body?()
            return nil
        }
        defer { datastore.close() }
        let image = try #require(datastore.tier.register.entries.keys.first)
        try #require(datastore.tier.register.entry(image)?.stopped != nil)
        let handle = try #require(FileHandle(image.bytes))
        isAway.store(false, ordering: .relaxed)
        between.withLock { between in
            between = {
                #expect((try? bed.read(place, handle, datastore)) == RedirectBed.content)
                #expect(failure { try bed.write(5, at: 4 << 20, handle, datastore) } == nil)
            }
        }
        datastore.tier.compareStopped()
        #expect(datastore.tier.register.entry(image)?.stopped == nil)
        #expect(!datastore.tier.register.isQuarantined(image), "nobody but a client has changed it")
    }
}
