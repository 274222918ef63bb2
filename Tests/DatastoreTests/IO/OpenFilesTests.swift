import DiskImages
import Foundation
import Glibc
import Logging
import NIOCore
import Synchronization
import TestTools
import Testing

@testable import Datastore

/// Which files are open, and what becomes of their images.
@Suite(.serialized, .enabled(if: isRoot, "mounts file systems")) struct OpenFilesTests {
    private func read(_ file: HandleAlias, _ datastore: Datastore) throws -> UInt8? {
        var bytes = ByteBuffer()
        _ = try datastore.read(file, offset: 0, count: 1, as: .root, into: &bytes)
        return bytes.getInteger(at: 0)
    }

    private func eventually(_ condition: () -> Bool) -> Bool {
        for _ in 0..<600 where !condition() { usleep(25_000) }
        return condition()
    }

    /// Far more files are read, written and committed than may be open.
    @Test func filesUsedLeastMakeRoomForOthers() throws {
        let test = try TestDatastore()
        let files = try (0..<300).map { try test.createFile("f\($0)") }
        let datastore = test.datastore
        datastore.files.mostFiles.store(20, ordering: .relaxed)
        concurrently(threads: 4) { thread in
            for round in 0..<2 {
                for (number, file) in files.enumerated() where number % 4 == thread {
                    do {
                        let bytes = ByteBuffer(integer: UInt8(truncatingIfNeeded: number + round))
                        _ = try datastore.write(file, offset: 0, bytes: bytes, stability: .unstable, as: .root)
                        #expect(try read(file, datastore) == UInt8(truncatingIfNeeded: number + round))
                        _ = try datastore.commit(file, offset: 0, count: 0, as: .root)
                    } catch {
                        Issue.record(error)
                    }
                }
            }
        }
        // Each thread may be about to open one more.
        #expect(test.datastore.files.table.withLock { $0.count } <= 24)
        for (number, file) in files.enumerated() {
            #expect(try read(file, test.datastore) == UInt8(truncatingIfNeeded: number + 1))
        }
    }

    /// A guest that is running when the server starts writes all the time.
    @Test func anImageThatIsAlwaysWrittenToIsLookedAt() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/disk.img", "16M"])
            let datastore = try Datastore(
                configuration: .init(exports: [.init(path: export)], stateDirectory: "\(path)/state"),
                logger: .init(label: "test"))
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let handle = try datastore.lookup(root, "disk.img", as: .root).handle
            let start = ContinuousClock.now
            while datastore.report().images.isEmpty, start.duration(to: .now) < .seconds(60) {
                let bytes = ByteBuffer(repeating: 0, count: 4096)
                _ = try datastore.write(handle, offset: 12 << 20, bytes: bytes, stability: .unstable, as: .root)
                usleep(100_000)
            }
            #expect(!datastore.report().images.isEmpty)
            #expect(start.duration(to: .now) > .seconds(2), "nobody was writing")
        }
    }

    /// A file that a call uses is not closed, and its images end where nothing else gives way.
    @Test func filesInUseStayOpen() throws {
        let test = try TestDatastore()
        let used = try test.createFile("used")
        let file = try test.datastore.openFile(used)
        test.datastore.files.mostFiles.store(16, ordering: .relaxed)
        for number in 0..<100 { _ = try read(try test.createFile("f\(number)"), test.datastore) }
        #expect(try test.datastore.openFile(used) === file)
    }

    /// Where none can be closed they are gone through again when there are some more, not for each.
    @Test func filesInUseAreNotGoneThroughForEachThatIsOpened() throws {
        let test = try TestDatastore()
        let files = test.datastore.files
        files.mostFiles.store(64 * 4, ordering: .relaxed)
        var used: [OpenFile] = []
        var looks: [Int] = []
        for number in 0..<300 {
            used.append(try test.datastore.openFile(try test.createFile("f\(number)")))
            let count = files.countWithoutRoom.load(ordering: .relaxed)
            if count != looks.last { looks.append(count) }
        }
        #expect(looks == [0] + stride(from: 256, to: 300, by: 4))
        used.removeAll()
        // Who goes through the open files has them for a moment.
        for number in 300..<340 where files.table.withLock({ $0.count }) >= 256 {
            _ = try test.datastore.openFile(try test.createFile("f\(number)"))
        }
        #expect(files.table.withLock { $0.count } < 256)
        #expect(files.countWithoutRoom.load(ordering: .relaxed) == 0)
    }

    /// Images give way several at a time.
    @Test func imagesMakeRoomForOthers() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            for number in 0..<52 { try makeSparseFile("\(export)/i\(number)", size: 1 << 20) }
            let datastore = try Datastore(
                configuration: .init(exports: [.init(path: export)], stateDirectory: "\(path)/state"),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            for number in 0..<32 {
                _ = try read(try datastore.lookup(root, FileName("i\(number)"), as: .root).handle, datastore)
            }
            #expect(eventually { datastore.files.sessions.count { !$0.isBusy } == 32 })
            datastore.files.mostFiles.store(32, ordering: .relaxed)
            var used: [OpenFile] = []
            var ends = 0
            for number in 32..<52 {
                let before = datastore.files.sessions.count
                let handle = try datastore.lookup(root, FileName("i\(number)"), as: .root).handle
                used.append(try datastore.openFile(handle))
                if datastore.files.sessions.count < before { ends += 1 }
            }
            // Two at a time, but for when somebody goes through the open files and has them for a moment.
            #expect((1...15).contains(ends))
            #expect(datastore.files.table.withLock { $0.count } <= 36)
        }
    }

    /// As long as no scan has ended, the disks of thousands of images are not compared with one another twice a second.
    @Test func volumeGroupsAreLookedForAfterScansAlone() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/disk.img", "8192k"])
            var configuration = DatastoreConfiguration(exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.cacheSize = 4 << 20
            let datastore = try Datastore(configuration: configuration, logger: .init(label: "test"))
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            _ = try read(try datastore.lookup(root, "disk.img", as: .root).handle, datastore)
            func isScanned() -> Bool { datastore.files.sessions.contains { $0.lastScan != nil && !$0.isBusy } }
            #expect(eventually { isScanned() && !datastore.files.joinVolumeGroups() })
            for _ in 0..<20 { #expect(!datastore.files.joinVolumeGroups()) }
        }
    }

    /// What follows a scan goes through what is cached, not through half a pebibyte of disk.
    @Test func aScanOfTheLargestDiskIsFollowedByWorkForWhatIsCachedAlone() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/a-flat.img", "8192k"])
            let rest = (DiskImage.largestSize >> 9) - 16384
            let descriptor =
                "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                + "createType=\"monolithicFlat\"\nRW 16384 FLAT \"a-flat.img\" 0\nRW \(rest) ZERO\n"
            try descriptor.write(toFile: "\(export)/a.vmdk", atomically: false, encoding: .utf8)
            var configuration = DatastoreConfiguration(exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.cacheSize = 4 << 20
            let datastore = try Datastore(configuration: configuration, logger: .init(label: "test"))
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            _ = try read(try datastore.lookup(root, "a.vmdk", as: .root).handle, datastore)
            func session() -> ImageSession? {
                datastore.files.sessions.first { $0.image.size == DiskImage.largestSize && $0.lastScan != nil }
            }
            try #require(eventually { session()?.isBusy == false })
            let flat = try datastore.lookup(root, "a-flat.img", as: .root).handle
            // The superblock.
            var bytes = ByteBuffer()
            _ = try datastore.read(flat, offset: 0, count: 4096, as: .root, into: &bytes)
            let count = try #require(session()).reclassifyCachedPages()
            #expect((1...datastore.files.cache.pageCount).contains(count), "\(count) ranges were looked up")
        }
    }

    #if DEBUG
        /// What is known of a file may have to be read: nobody waits for that under the lock that all take. See ``LockRank``.
        @Test func aFileIsEnteredWithoutWaitingUnderTheTablesLock() async {
            await #expect(processExitsWith: .success) {
                let test = try TestDatastore()
                let file = try test.datastore.openFile(try test.createFile("file"))
                #expect(test.datastore.files.openFiles.contains { $0 === file })
            }
        }
    #endif

    /// The kernel knows no name of a file that was opened by its handle alone.
    @Test func anImageThatIsOpenedByAnOldHandleIsLookedInto() throws {
        try withTemporaryDirectory { path in
            let (device, export) = ("\(path)/device", "\(path)/export")
            mkdir(export, 0o755)
            try makeSparseFile(device, size: 64 << 20)
            try runTool("mkfs.ext4", ["-q", device])
            try runTool("mount", ["-o", "loop", device, export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            mkdir("\(export)/d", 0o755)
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/d/disk.img", "8192k"])
            var configuration = DatastoreConfiguration(
                exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.cacheSize = 4 << 20
            let (handle, small) = try {
                let first = try Datastore(configuration: configuration, logger: .init(label: "test"))
                defer { first.close() }
                let root = try first.mount(export, client: .loopback)
                let directory = try first.lookup(root, "d", as: .root).handle
                let small = try (0..<40).map { number in
                    try "small".write(toFile: "\(export)/\(number)", atomically: false, encoding: .utf8)
                    return try first.lookup(root, FileName("\(number)"), as: .root).handle
                }
                return (try first.lookup(directory, "disk.img", as: .root).handle, small)
            }()
            // As long as anybody has a descriptor of it the kernel knows the names on a device.
            try runTool("sync", ["-f", export])
            try runTool("umount", ["--lazy", export])
            try runTool("cp", ["--sparse=always", device, "\(device)2"])
            try runTool("mount", ["-o", "loop", "\(device)2", export])
            let second = try Datastore(configuration: configuration, logger: .init(label: "test"))
            defer { second.close() }
            for file in small { #expect(try read(file, second) == UInt8(ascii: "s")) }
            #expect(try second.openFile(handle).descriptor.currentPath?.contains("disk.img") != true)
            _ = try read(handle, second)
            #expect(
                eventually { second.report().images.contains { $0.path == "\(export)/d/disk.img" && $0.scan != nil } })
            // Nobody looks the export through for those that are too small to be a disk.
            for file in small { #expect(second.files.file(for: file)?.isPathKnown == false) }
        }
    }

    /// The files of an image whose session ends are looked at again.
    @Test func aFlatFileIsLookedIntoWhenItsDescriptorIsGone() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/a-flat.img", "8192k"])
            let descriptor =
                "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                + "createType=\"monolithicFlat\"\nRW 16384 FLAT \"a-flat.img\" 0\n"
            try descriptor.write(toFile: "\(export)/a.vmdk", atomically: false, encoding: .utf8)
            var configuration = DatastoreConfiguration(exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.cacheSize = 4 << 20
            let datastore = try Datastore(configuration: configuration, logger: .init(label: "test"))
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            func isKnown(_ name: String) -> Bool {
                datastore.report().images.contains { $0.path == "\(export)/\(name)" && $0.scan != nil }
            }
            _ = try read(try datastore.lookup(root, "a.vmdk", as: .root).handle, datastore)
            #expect(eventually { isKnown("a.vmdk") })
            _ = try datastore.remove(root, "a.vmdk", as: .root)
            #expect(eventually { isKnown("a-flat.img") && !isKnown("a.vmdk") })
        }
    }

    /// LINK, REMOVE of the old name, and another image under that name: introspection follows both.
    @Test func anImageThatHasLostItsNameIsLookedIntoAgain() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            for name in ["disk.img", "next.img"] {
                try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/\(name)", "8192k"])
            }
            var configuration = DatastoreConfiguration(exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.cacheSize = 4 << 20
            let datastore = try Datastore(configuration: configuration, logger: .init(label: "test"))
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let first = try datastore.lookup(root, "disk.img", as: .root).handle
            func isFollowed(_ handle: HandleAlias) -> Bool {
                guard let session = datastore.files.file(for: handle)?.member?.session else { return false }
                return session.lastScan != nil && datastore.files.sessions.contains { $0 === session }
            }
            _ = try read(first, datastore)
            #expect(eventually { isFollowed(first) })
            _ = try datastore.link(first, root, "kept.img", as: .root)
            _ = try datastore.remove(root, "disk.img", as: .root)
            _ = try datastore.rename(root, "next.img", to: root, "disk.img", as: .root)
            let second = try datastore.lookup(root, "disk.img", as: .root).handle
            _ = try read(second, datastore)
            #expect(eventually { isFollowed(first) && isFollowed(second) })
        }
    }

    /// A guest uses the flat file of an image all the time, and nobody its descriptor.
    @Test func anImageIsNotIdleAsLongAsOneOfItsFilesIsUsed() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            // Nothing that introspection knows: what the cache has is kept anyway.
            try makeSparseFile("\(export)/a-flat.img", size: 8 << 20)
            let descriptor =
                "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                + "createType=\"monolithicFlat\"\nRW 16384 FLAT \"a-flat.img\" 0\n"
            try descriptor.write(toFile: "\(export)/a.vmdk", atomically: false, encoding: .utf8)
            var configuration = DatastoreConfiguration(exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.cacheSize = 4 << 20
            let datastore = try Datastore(configuration: configuration, logger: .init(label: "test"))
            defer { datastore.close() }
            let files = datastore.files
            let root = try datastore.mount(export, client: .loopback)
            let top = try datastore.lookup(root, "a.vmdk", as: .root).handle
            let flat = try datastore.lookup(root, "a-flat.img", as: .root).handle
            _ = try read(top, datastore)
            #expect(eventually { files.sessions.contains { $0.files.count == 2 && $0.lastScan != nil && !$0.isBusy } })
            let session = try #require(files.sessions.first)
            let (parent, child) = (try datastore.openFile(top).identity, try datastore.openFile(flat).identity)
            var lastUse = ContinuousClock.now
            #expect(
                eventually {
                    _ = try? read(flat, datastore)
                    let uses = files.lastUses()
                    lastUse = uses[child] ?? lastUse
                    return uses[parent].map { $0 < lastUse } ?? false
                })
            files.closeIdleFiles(before: lastUse)
            #expect(files.sessions.contains { $0 === session })
            #expect(files.file(for: flat)?.member?.session === session)
            files.closeIdleFiles(before: .now)
            #expect(!files.sessions.contains { $0 === session })
        }
    }

    /// Each file that is opened beyond the limit has another closed, and one line tells of it.
    @Test func theLimitOfDescriptorsIsLoggedOnce() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            for number in 0..<60 { try makeSparseFile("\(export)/f\(number)", size: 4096) }
            let lines = LineCounter("as many as the limit of descriptors allows")
            let datastore = try Datastore(
                configuration: .init(exports: [.init(path: export)], stateDirectory: "\(path)/state"),
                logger: Logger(label: "test") { _ in lines })
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            datastore.files.mostFiles.store(16, ordering: .relaxed)
            for number in 0..<60 {
                _ = try read(try datastore.lookup(root, FileName("f\(number)"), as: .root).handle, datastore)
            }
            #expect(datastore.files.table.withLock { $0.count } <= 17)
            let count = lines.count.load(ordering: .relaxed)
            #expect(count == 1)
        }
    }

    /// Another program changes an image that is known: it is looked at again, and scanned once.
    @Test func anImageThatChangedOnTheServerIsScannedOnce() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/disk.img", "8192k"])
            let scans = LineCounter(": scanned in ")
            let datastore = try Datastore(
                configuration: .init(exports: [.init(path: export)], stateDirectory: "\(path)/state"),
                logger: Logger(label: "test") { _ in scans })
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let handle = try datastore.lookup(root, "disk.img", as: .root).handle
            _ = try read(handle, datastore)
            #expect(eventually { scans.count.load(ordering: .relaxed) == 1 })
            // So long that another scan may begin at once.
            usleep(1_500_000)
            try runTool("debugfs", ["-w", "-R", "mkdir /new", "\(export)/disk.img"])
            _ = try read(handle, datastore)
            #expect(eventually { scans.count.load(ordering: .relaxed) == 2 })
            // A second one would come after a second at the earliest.
            sleep(4)
            let count = scans.count.load(ordering: .relaxed)
            #expect(count == 2)
        }
    }

    /// A guest can have its image scanned again and again: the same problems are said once.
    @Test func problemsOfAnImageAreLoggedOnce() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try runTool("mke2fs", ["-q", "-t", "ext3", "-b", "1024", "-F", "\(export)/disk.img", "8192k"])
            // s_log_block_size
            let file = open("\(export)/disk.img", O_WRONLY)
            defer { close(file) }
            #expect(pwrite(file, [UInt8(99)], 1, 1024 + 24) == 1)
            let problems = LineCounter("s_log_block_size")
            let datastore = try Datastore(
                configuration: .init(exports: [.init(path: export)], stateDirectory: "\(path)/state"),
                logger: Logger(label: "test") { _ in problems })
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let handle = try datastore.lookup(root, "disk.img", as: .root).handle
            _ = try read(handle, datastore)
            #expect(eventually { problems.count.load(ordering: .relaxed) == 1 })
            let session = try #require(datastore.files.sessions.first)
            let count = session.scanCount
            session.requestScan()
            #expect(eventually { session.scanCount > count && !session.isBusy })
            let lines = problems.count.load(ordering: .relaxed)
            #expect(lines == 1)
        }
    }

    @Test func aDescriptorThatKnowsNoFileSaysThatTheStoreIsLost() {
        for number in [ENOENT, ESHUTDOWN, ENOTCONN] {
            #expect(DatastoreError.ofDescriptor(number, "read").code == .storeLost)
        }
        #expect(DatastoreError(errorNumber: ENOENT, "look up").code == .noEntry)
        #expect(DatastoreError.ofDescriptor(EIO, "read").code == .io)
    }

    /// Its contents change with each name that comes or goes, and are no image's.
    @Test func aDirectoryHasNoDataThatCouldChange() throws {
        let bed = try RedirectBed()
        try bed.serve(nil) { datastore, _ in
            let root = try bed.root(datastore)
            for name in ["a", "b", "c"] {
                #expect(failure { try bed.read(0, root, datastore) } == .isDirectory)
                #expect(failure { try bed.write(1, at: 0, root, datastore) } == .isDirectory)
                mkdir(bed.path(name), 0o755)
            }
            #expect(datastore.files.file(for: root) == nil)
        }
        #expect(!bed.log.contains("changed by another program"), "\(bed.log.all)")
    }
}

/// Counts the lines of a log that have a text.
private final class LineCounter: LogHandler, Sendable {
    let count = Atomic(0)
    private let text: String

    init(_ text: String) {
        self.text = text
    }

    var logLevel: Logger.Level {
        get { .info }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        if "\(event.message)".contains(text) { count.add(1, ordering: .relaxed) }
    }
}
