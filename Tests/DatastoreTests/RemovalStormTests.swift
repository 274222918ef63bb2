import BlockStorage
import Dispatch
import Foundation
import Glibc
import Logging
import NIOCore
import Synchronization
import TestTools
import Testing

@testable import Datastore

/// Files that go while others use them, and calls that meet on one directory: all of them end.
@Suite(.serialized) struct RemovalStormTests {
    /// Four clients write to a recognised image without a pause; it is removed by a client, or on the server.
    @Test(arguments: [nil, .writeback, .writethrough] as [DatastoreConfiguration.TierMode?], [false, true])
    func anImageIsRemovedUnderItsWriters(tier: DatastoreConfiguration.TierMode?, onServer: Bool) throws {
        let bed = try RedirectBed()
        let names = (0..<6).map { "image\($0).img" }
        for name in names { try runTool("cp", [bed.path("disk.img"), bed.path(name)]) }
        try bed.serve(tier) { datastore, _ in
            let handles = try names.map { try bed.handle($0, datastore) }
            for handle in handles { _ = try bed.inodeTable(datastore, handle, "") }
            let root = try bed.root(datastore)
            for (name, handle) in zip(names, handles) {
                let isGone = Atomic(false)
                try expectEnd(of: "\(name) is removed", threads: 5) { thread in
                    guard thread == 4 else {
                        self.write(to: handle, datastore, thread, until: isGone)
                        return
                    }
                    usleep(30_000)
                    if onServer {
                        unlink(bed.path(name))
                    } else {
                        _ = try? datastore.remove(root, FileName(name), as: .root)
                    }
                    isGone.store(true, ordering: .relaxed)
                }
            }
            _ = try datastore.getAttributes(root, as: .root)
        }
    }

    /// Images are removed just when they are recognised: none stays in service, with its map, its cached pages and its file.
    @Test func imagesThatAreRemovedWhileTheyAreRecognisedAreNotKept() throws {
        try withTemporaryDirectory { path in
            mkdir("\(path)/export", 0o755)
            try runTool("mke2fs", ["-q", "-t", "ext2", "-F", "\(path)/image", "1024k"])
            let content = try Data(contentsOf: URL(fileURLWithPath: "\(path)/image"))
            var configuration = DatastoreConfiguration(
                exports: [.init(path: "\(path)/export")], stateDirectory: "\(path)/state")
            configuration.cacheSize = 16 << 20
            configuration.lookInterval = 0.0001
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let datastore = try Datastore(configuration: configuration, logger: logger)
            defer { datastore.close() }
            let root = try datastore.mount("\(path)/export", client: .loopback)
            for number in 0..<1000 {
                let name = FileName("image\(number)")
                try content.write(to: URL(fileURLWithPath: "\(path)/export/\(name)"))
                let file = try datastore.lookup(root, name, as: .root).handle
                var bytes = ByteBuffer()
                _ = try datastore.read(file, offset: 0, count: 1, as: .root, into: &bytes)
                usleep(UInt32(number % 50) * 20)
                _ = try datastore.remove(root, name, as: .root)
            }
            for _ in 0..<400 where !datastore.files.sessions.isEmpty { usleep(25_000) }
            #expect(datastore.files.sessions.map(\.image.path) == [])
        }
    }

    /// Work that waits for its turn behind others' may keep what an image was for long: its map is not among that.
    @Test func theMapGoesWithItsImage() throws {
        let bed = try RedirectBed()
        try bed.serve(nil) { datastore, handle in
            _ = try bed.inodeTable(datastore, handle)
            let session = try #require(datastore.files.file(for: handle)?.member?.session)
            #expect(session.introspector.mapMemoryBytes > 0)
            _ = try datastore.remove(try bed.root(datastore), FileName("disk.img"), as: .root)
            for _ in 0..<400 where session.introspector.mapMemoryBytes > 0 { usleep(25_000) }
            #expect(session.introspector.mapMemoryBytes == 0)
        }
    }

    private func write(to handle: HandleAlias, _ datastore: Datastore, _ thread: Int, until end: borrowing Atomic<Bool>)
    {
        let bytes = ByteBuffer(repeating: UInt8(thread), count: 64 << 10)
        for number in 0..<100_000 {
            let offset = UInt64((number * 7 + thread) % 120) * 65536
            do {
                _ = try datastore.write(handle, offset: offset, bytes: bytes, stability: .fileSync, as: .root)
            } catch {
                return
            }
            // It may be that nobody finds out for a while that the last name is gone.
            if end.load(ordering: .relaxed), number > 2_000 { return }
        }
    }

    /// Sizes are set, names removed and given to others, in two directories, by eight clients.
    @Test(arguments: [nil, .writeback] as [DatastoreConfiguration.TierMode?])
    func attributesNamesAndRemovalsMeet(tier: DatastoreConfiguration.TierMode?) throws {
        let bed = try RedirectBed()
        let export = "\(bed.directory)/export2"
        try runTool("mount", ["-t", "tmpfs", "-o", "size=256m", "tmpfs", export])
        defer { _ = try? runTool("umount", ["--lazy", export]) }
        try bed.serve(tier, exports: ["export", "export2"]) { datastore, _ in
            let root = try bed.root(datastore, export: 1)
            let directories = try ["a", "b"].map { (name: FileName) in
                try datastore.makeDirectory(root, name, AttributeChanges(), as: .root).handle
            }
            try expectEnd(of: "the storm", threads: 8) { thread in
                var random = SplitMix64(seed: UInt64(thread))
                for _ in 0..<1_500 { Self.step(datastore, directories, &random) }
            }
        }
    }

    /// One call of a client, on one of a few files; that it is there is not said.
    private static func step(_ datastore: Datastore, _ directories: [HandleAlias], _ random: inout SplitMix64) {
        func any(_ count: UInt64) -> Int { Int(random.next() % count) }
        let (directory, other) = (directories[any(2)], directories[any(2)])
        let name = FileName("f\(any(8))")
        let file = try? datastore.lookup(directory, name, as: .root).handle
        switch any(8) {
        case 0: _ = try? datastore.remove(directory, name, as: .root)
        case 1: _ = try? datastore.rename(directory, name, to: other, FileName("f\(any(8))"), as: .root)
        case 2:
            guard let file else { return }
            _ = try? datastore.link(file, other, FileName("f\(any(8))"), as: .root)
        case 3, 4:
            guard let file else { return }
            let size = any(2) == 0 ? UInt64(any(64)) << 14 : nil
            let changes = AttributeChanges(mode: 0o600, size: size)
            _ = try? datastore.setAttributes(file, changes, guard: nil, as: .root)
        case 5, 6:
            guard let file else { return }
            let bytes = ByteBuffer(repeating: 7, count: 8192)
            _ = try? datastore.write(
                file, offset: UInt64(any(64)) << 13, bytes: bytes, stability: any(2) == 0 ? .fileSync : .unstable,
                as: .root)
        default:
            let mode = CreateMode.unchecked(AttributeChanges(mode: 0o600, size: 0))
            _ = try? datastore.create(directory, name, mode, as: .root)
        }
    }

    /// Calls `body` on `threads` threads; ends the program when they do not end.
    private func expectEnd(
        of what: String, threads: Int, _ body: @escaping @Sendable (Int) -> Void
    ) throws {
        let ended = DispatchSemaphore(value: 0)
        for thread in 0..<threads {
            Thread.detachNewThread {
                body(thread)
                ended.signal()
            }
        }
        for _ in 0..<threads where ended.wait(timeout: .now() + 120) == .timedOut {
            fatalError("\(what): calls hang")
        }
    }

    /// The blocks of a removed file are given back by a thread that no client waits for.
    @Test func aRemovedFileIsClosedInTheBackground() throws {
        let test = try TestDatastore()
        try runTool("mount", ["-t", "tmpfs", "-o", "size=64m", "tmpfs", test.local("")])
        defer { _ = try? runTool("umount", ["--lazy", test.local("")]) }
        try test.restart()
        let root = try test.datastore.mount(test.local("."), client: .loopback)
        let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
        for isOpen in [false, true] {
            let file = try test.datastore.create(root, "file", mode, as: .root).handle
            try runTool("dd", ["if=/dev/zero", "of=\(test.local("file"))", "bs=1M", "count=16", "status=none"])
            if isOpen { _ = try test.datastore.openFile(file) }
            let full = Self.freeBlocks(test.local(""))
            let mayGoOn = DispatchSemaphore(value: 0)
            LateClose.pool.submit { mayGoOn.wait() }
            _ = try test.datastore.remove(root, "file", as: .root)
            #expect(failure { try test.datastore.getAttributes(file, as: .root) } == .stale)
            #expect(Self.freeBlocks(test.local("")) < full + 1000)
            mayGoOn.signal()
            for _ in 0..<400 where Self.freeBlocks(test.local("")) < full + 4000 { usleep(25_000) }
            #expect(Self.freeBlocks(test.local("")) >= full + 4000)
        }
    }

    private static func freeBlocks(_ path: String) -> Int {
        var status = statvfs()
        return statvfs(path, &status) == 0 ? Int(status.f_bfree) : 0
    }
}
