import BlockStorage
import Foundation
import Glibc
import NIOCore
import Synchronization
import TestTools
import Testing

@testable import Datastore

/// What a failed write or flush means to the one who asked for it, and to the others.
@Suite(.serialized, .enabled(if: isRoot, "mounts file systems")) struct WriteFailureTests {
    private static let clients = 8
    private static let share = 128 << 10

    /// Calls `body` with new files on a disk that has no room for what is written to them, until `makeRoom` is called.
    private func withFullDisk(
        files: Int,
        _ body: (_ datastore: Datastore, _ files: [HandleAlias], _ makeRoom: @escaping @Sendable () -> Void) throws ->
            Void
    ) throws {
        try withTemporaryDirectory { path in
            let (small, export) = ("\(path)/small", "\(path)/export")
            for directory in [small, export] { mkdir(directory, 0o755) }
            try runTool("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", small])
            defer { _ = try? runTool("umount", ["--lazy", small]) }
            try makeSparseFile("\(small)/image", size: 64 << 20)
            let now = "lazy_itable_init=0,lazy_journal_init=0"
            // Without a journal, which would make the file system read-only when it cannot be written.
            try runTool("mkfs.ext4", ["-q", "-O", "^has_journal", "-E", now, "\(small)/image"])
            try runTool("mount", ["-o", "loop,errors=continue", "\(small)/image", export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            let datastore = try Datastore(exports: [.init(path: export)], state: "\(path)/state")
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
            let files = try (0..<files).map {
                try datastore.create(root, FileName("disk\($0)"), mode, as: .root).handle
            }
            _ = try? runTool("dd", ["if=/dev/zero", "of=\(small)/rest", "bs=64k", "status=none"])
            try body(datastore, files) { unlink("\(small)/rest") }
        }
    }

    /// The kernel tells one flush of a failed write-back, and the others nothing.
    @Test func noCommitBesideAFailedOneAnswersForWhatIsLost() throws {
        try withFullDisk(files: 6) { datastore, files, _ in
            for (round, file) in files.enumerated() {
                let answered = try commitTogether(datastore, file, isWhole: round.isMultiple(of: 2))
                #expect(answered == 0, "COMMITs of round \(round) that answer for what is not on the disk")
            }
        }
    }

    /// Whoever has flushed the file, and was told what COMMIT is to be told.
    @Test(arguments: [true, false]) func aCommitWhoseErrorAnotherFlushHasTakenFails(isWhole: Bool) throws {
        try withFullDisk(files: 1) { datastore, files, _ in
            let bytes = ByteBuffer(repeating: 7, count: Self.share)
            let written = try datastore.write(files[0], offset: 0, bytes: bytes, stability: .unstable, as: .root)
            let writer = try #require(datastore.openFile(files[0]).openWriter)
            #expect(fsync(writer.rawValue) == -1)
            let count = isWhole ? 0 : UInt32(Self.share)
            #expect(failure { try datastore.commit(files[0], offset: 0, count: count, as: .root) } != nil)
            #expect(datastore.writeVerifier != written.verifier)
        }
    }

    /// Another's flush comes while the kernel copies what a stable write brings: it meets the first pages, fails, and is told.
    /// The write's own sync finds that the rest is well.
    @Test(
        .enabled(if: HeldPage.isAvailable, "the kernel has no userfaultfd"),
        arguments: [WriteStability.dataSync, .fileSync], [false, true])
    func aStableWriteWhoseErrorAnotherFlushHasTakenFails(stability: WriteStability, byCommit: Bool) throws {
        try withFullDisk(files: 1) { datastore, files, makeRoom in
            let (file, verifier) = (files[0], datastore.writeVerifier)
            let bytes = ByteBuffer(repeating: 7, count: 1 << 20)
            let held = try bytes.withUnsafeReadableBytes { try HeldPage(after: #require($0.baseAddress) + (512 << 10)) }
            // The kernel copies up to where its largest page would end.
            let offset = UInt64(64 << 20) - UInt64(Self.share)
            let status = Mutex<DatastoreError.Code?>(nil)
            concurrently(threads: 2) { thread in
                if thread == 0 {
                    let code = failure {
                        try datastore.write(file, offset: offset, bytes: bytes, stability: stability, as: .root)
                    }
                    status.withLock { $0 = code }
                    return
                }
                defer { held.letGo() }
                do {
                    try held.waitForReader()
                    if byCommit {
                        #expect(failure { try datastore.commit(file, offset: 0, count: 0, as: .root) } != nil)
                    } else {
                        #expect(try fsync(#require(datastore.openFile(file).openWriter).rawValue) == -1)
                    }
                    makeRoom()
                } catch {
                    Issue.record(error)
                }
            }
            #expect(status.withLock { $0 } == .io)
            #expect(datastore.writeVerifier != verifier)
        }
    }

    /// Clients write to one file, which has no room, and commit at the same time; returns how many were told that their
    /// bytes are safe.
    private func commitTogether(_ datastore: Datastore, _ file: HandleAlias, isWhole: Bool) throws -> Int {
        let bytes = ByteBuffer(repeating: 7, count: Self.share)
        let written = try (0..<Self.clients).map { client in
            try datastore.write(
                file, offset: UInt64(client * Self.share), bytes: bytes, stability: .unstable, as: .root
            ).verifier
        }
        let answered = Mutex(0)
        let ready = Atomic(0)
        concurrently(threads: Self.clients) { client in
            ready.add(1, ordering: .relaxed)
            while ready.load(ordering: .relaxed) < Self.clients {}
            let offset = isWhole ? 0 : UInt64(client * Self.share)
            let count = isWhole ? 0 : UInt32(Self.share)
            let committed = try? datastore.commit(file, offset: offset, count: count, as: .root).verifier
            if committed == written[client] { answered.withLock { $0 += 1 } }
        }
        return answered.withLock { $0 }
    }

    /// A client that has no room is told how much of its WRITE there was room for, and no other client notices.
    @Test func aWriteWithoutRoomIsShortAndTroublesNobodyElse() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try runTool("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            let datastore = try Datastore(exports: [.init(path: export)], state: "\(path)/state")
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
            let other = try datastore.create(root, "other", mode, as: .root).handle
            let small = ByteBuffer(repeating: 1, count: 4096)
            let before = try datastore.write(other, offset: 0, bytes: small, stability: .unstable, as: .root)
            try runTool("dd", ["if=/dev/zero", "of=\(export)/filler", "bs=4k", "count=1950", "status=none"])
            for (name, stability) in [("a", .fileSync), ("b", .dataSync), ("c", .unstable)]
                as [(String, WriteStability)]
            {
                let file = try datastore.create(root, FileName(name), mode, as: .root).handle
                let bytes = ByteBuffer(repeating: 7, count: 1 << 20)
                let result = try datastore.write(file, offset: 0, bytes: bytes, stability: stability, as: .root)
                #expect(result.count > 0 && result.count < 1 << 20)
                #expect(try datastore.getAttributes(file, as: .root).size == UInt64(result.count))
                let rest = bytes.getSlice(at: result.count, length: bytes.readableBytes - result.count) ?? ByteBuffer()
                #expect(
                    failure {
                        try datastore.write(
                            file, offset: UInt64(result.count), bytes: rest, stability: stability, as: .root)
                    } == .noSpace)
                #expect(try datastore.getAttributes(file, as: .root).size == UInt64(result.count))
                var read = ByteBuffer()
                _ = try datastore.read(file, offset: 0, count: 1 << 20, as: .root, into: &read)
                #expect(read == bytes.getSlice(at: 0, length: result.count))
                _ = try datastore.remove(root, FileName(name), as: .root)
                for _ in 0..<400 where Self.freeBlocks(export) < 50 { usleep(10_000) }
            }
            #expect(datastore.writeVerifier == before.verifier)
            #expect(try datastore.commit(other, offset: 0, count: 0, as: .root).verifier == before.verifier)
        }
    }

    /// Clients whose writes go too far, or find no room, cost nobody what is known: neither the verifier, nor what the
    /// cache has of the image, nor a scan.
    @Test(arguments: [DatastoreError.Code.fileTooBig, .noSpace])
    func aWriteThatWasNotBegunForgetsNothing(code: DatastoreError.Code) throws {
        try withTemporaryDirectory { path in
            let (disk, export) = ("\(path)/disk", "\(path)/export")
            mkdir(export, 0o755)
            try makeSparseFile(disk, size: 48 << 20)
            // A file without extents ends at 16 GiB in blocks of 1 KiB, where its file system has larger ones.
            try runTool("mkfs.ext4", ["-q", "-b", "1024", "-m", "0", "-O", "^extent,^64bit", disk])
            try runTool("mount", ["-o", "loop", disk, export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/disk.img", "16M"])
            try runTool("umount", [export])
            try runTool("tune2fs", ["-O", "extent", disk])
            try runTool("mount", ["-o", "loop", disk, export])
            var configuration = DatastoreConfiguration(exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.cacheSize = 4 << 20
            let datastore = try Datastore(configuration: configuration, logger: LogLines().logger)
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let handle = try datastore.lookup(root, "disk.img", as: .root).handle
            let file = try datastore.openFile(handle)
            for _ in 0..<600 where !file.isCached || file.member?.session.isBusy != false { usleep(25_000) }
            let session = try #require(file.member?.session)
            var read = ByteBuffer()
            _ = try datastore.read(handle, offset: 0, count: 8192, as: .root, into: &read)
            let known = ByteRange(offset: 0, length: 8192)
            try #require(file.cache.isCached(image: file.cacheID, range: known))
            _ = try? runTool("dd", ["if=/dev/zero", "of=\(export)/filler", "bs=1k", "status=none"])
            let (verifier, scans) = (datastore.writeVerifier, session.scanCount)
            let offset: UInt64 = code == .noSpace ? 12 << 20 : 20 << 30
            for stability in [WriteStability.fileSync, .dataSync, .unstable] {
                let bytes = ByteBuffer(repeating: 7, count: 4096)
                #expect(
                    failure {
                        try datastore.write(handle, offset: offset, bytes: bytes, stability: stability, as: .root)
                    } == code)
                #expect(datastore.writeVerifier == verifier)
                #expect(file.cache.isCached(image: file.cacheID, range: known))
                // One that is asked for runs, or is over.
                #expect(!session.isBusy && session.scanCount == scans)
            }
        }
    }

    private static func freeBlocks(_ path: String) -> Int {
        var status = statvfs()
        return statvfs(path, &status) == 0 ? Int(status.f_bfree) : 0
    }
}
