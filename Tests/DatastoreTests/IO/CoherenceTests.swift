import BlockStorage
import Foundation
import Glibc
import Logging
import NIOCore
import Synchronization
import TestTools
import Testing

@testable import Datastore

/// Reads give the last acknowledged write, whatever the cache, scans and other clients do at the same time.
@Suite(.serialized)
struct CoherenceTests {
    fileprivate static let imageSize = 8 << 20
    private static let sectorSize = 512
    private static let clientCount = 4

    /// Four clients write to one small image, each to sectors of its own, so that every page is shared by all of them,
    /// and check at once and in the end that each of their sectors holds the last version they wrote. What they write
    /// destroys the guest's file system: introspection is kept busy with nonsense. The cache is far too small.
    @Test(
        arguments: [(false, nil), (true, nil), (true, .writeback), (true, .writethrough)]
            as [(Bool, DatastoreConfiguration.TierMode?)])
    func everyClientReadsItsLastWrite(introspects: Bool, tier: DatastoreConfiguration.TierMode?) throws {
        try withImage(introspects: introspects, tier: tier) { datastore, handle, path in
            try runClients(datastore, handle, path)
        }
    }

    private func runClients(_ datastore: Datastore, _ handle: HandleAlias, _ path: String) throws {
        let pool = IOPool(name: "clients", threadCount: Self.clientCount)
        let failures = Mutex<[String]>([])
        let versions = Mutex([[Int: UInt32]](repeating: [:], count: Self.clientCount))
        for number in 0..<Self.clientCount {
            pool.submit {
                var client = Client(number: number, datastore: datastore, handle: handle, imageSize: Self.imageSize)
                do {
                    for _ in 0..<1_500 { try client.step() }
                    try client.checkAll()
                } catch {
                    failures.withLock { $0.append("client \(number): \(error)") }
                }
                versions.withLock { $0[number] = client.versions }
            }
        }
        pool.shutDown()
        #expect(failures.withLock { $0 } == [])

        datastore.close()
        let image = try FileDevice(path: path, access: .readOnly, mode: .buffered)
        for (number, written) in versions.withLock({ $0 }).enumerated() {
            for (sector, version) in written {
                let bytes = try image.read(ByteRange(offset: sector * Self.sectorSize, length: Self.sectorSize))
                #expect(bytes == Client.contents(sector: sector, version: version), "client \(number)")
            }
        }
    }

    /// The image's session ends and another begins, again and again: the descriptor that names the flat file is replaced.
    /// Whether each step on the way is right, ``SessionReplacementTests`` tell; this is for what nobody has thought of.
    @Test(arguments: [nil, .writeback] as [DatastoreConfiguration.TierMode?])
    func everyClientReadsItsLastWriteWhenSessionsAreReplaced(tier: DatastoreConfiguration.TierMode?) throws {
        try withImage(introspects: true, tier: tier) { datastore, handle, path in
            let directory = path.dropLast("/disk.img".count)
            let isDone = Atomic(false)
            let replacer = IOPool(name: "replacer", threadCount: 1)
            replacer.submit {
                while !isDone.load(ordering: .relaxed) {
                    try? Self.descriptor.write(toFile: "\(directory)/new", atomically: false, encoding: .utf8)
                    rename("\(directory)/new", "\(directory)/disk.vmdk")
                    if let descriptor = try? self.handle(of: "disk.vmdk", in: datastore) {
                        _ = try? self.read(0, 512, descriptor, datastore)
                    }
                    usleep(400_000)
                }
            }
            defer {
                isDone.store(true, ordering: .relaxed)
                replacer.shutDown()
            }
            // Also where no client has written: every page is read again and again.
            let old = try read(0, Self.imageSize / 2, handle, datastore)
            for round in 0..<2 {
                try writePages(UInt8(round), handle, datastore)
                for page in stride(from: Self.imageSize / 2, to: Self.imageSize, by: 4096) {
                    let bytes = try read(page, 4096, handle, datastore)
                    #expect(bytes.allSatisfy { $0 == UInt8(round) }, "page \(page / 4096) in round \(round)")
                }
            }
            #expect(try read(0, Self.imageSize / 2, handle, datastore) == old)
            isDone.store(true, ordering: .relaxed)
            replacer.shutDown()
            datastore.close()
        }
    }

    private static let descriptor = """
        # Disk DescriptorFile
        version=1
        CID=fffffffe
        parentCID=ffffffff
        createType="monolithicFlat"
        RW 16384 FLAT "disk.img" 0

        """

    /// Writes the second half of the image, page by page, while others read it.
    private func writePages(_ value: UInt8, _ handle: HandleAlias, _ datastore: Datastore) throws {
        let readers = IOPool(name: "readers", threadCount: 3)
        let isDone = Atomic(false)
        for number in 0..<3 {
            readers.submit {
                var random = SplitMix64(seed: UInt64(number))
                while !isDone.load(ordering: .relaxed) {
                    let page = Self.imageSize / 2 + Int(random.next() % UInt64(Self.imageSize / 8192)) * 4096
                    _ = try? self.read(page, 4096, handle, datastore)
                }
            }
        }
        defer { readers.shutDown() }
        defer { isDone.store(true, ordering: .relaxed) }
        let bytes = ByteBuffer(repeating: value, count: 4096)
        for page in stride(from: Self.imageSize / 2, to: Self.imageSize, by: 4096) {
            _ = try datastore.write(handle, offset: UInt64(page), bytes: bytes, stability: .fileSync, as: .root)
        }
    }

    @Test(arguments: [nil, .writeback] as [DatastoreConfiguration.TierMode?])
    func shrunkAndRegrownImageReadsAsZerosWhereItWasCut(tier: DatastoreConfiguration.TierMode?) throws {
        try withImage(introspects: true, tier: tier) { datastore, handle, _ in
            let old = try read(0, 1 << 20, handle, datastore)
            // In the log, as far as it takes them.
            for offset in stride(from: 0, to: old.count, by: 4096) {
                _ = try datastore.write(
                    handle, offset: UInt64(offset), bytes: ByteBuffer(bytes: old[offset..<offset + 4096]),
                    stability: .fileSync, as: .root)
            }
            #expect(tier == nil || datastore.tierStatus().liveBytes > 0)
            for size: UInt64 in [5000, 8 << 20] {
                _ = try datastore.setAttributes(handle, AttributeChanges(size: size), guard: nil, as: .root)
            }
            let bytes = try read(4096, 8192, handle, datastore)
            #expect(bytes[904...].allSatisfy { $0 == 0 })
            datastore.close()
        }
    }

    /// Whatever a client calls first: what the server's own call leaves does not hide what came before it.
    @Test(arguments: FirstCall.allCases) func changeByAnotherProgramIsSeen(after call: FirstCall) throws {
        try withImage(introspects: true) { datastore, handle, path in
            _ = try read(0, 4096, handle, datastore)
            let device = try FileDevice(path: path, access: .readWrite, mode: .buffered)
            try [UInt8](repeating: 7, count: 4096).withUnsafeBytes { try device.write($0, at: 0) }
            try call.make(handle, datastore)
            #expect(try read(0, 4096, handle, datastore) == [UInt8](repeating: 7, count: 4096))
            datastore.close()
        }
    }

    /// As `cp -p` or `touch -r` do.
    @Test func changeWhoseTimeIsSetBackIsSeen() throws {
        try withImage(introspects: true) { datastore, handle, path in
            _ = try read(0, 4096, handle, datastore)
            var before = stat()
            stat(path, &before)
            let device = try FileDevice(path: path, access: .readWrite, mode: .buffered)
            try [UInt8](repeating: 7, count: 4096).withUnsafeBytes { try device.write($0, at: 0) }
            utimensat(AT_FDCWD, path, [before.st_atim, before.st_mtim], 0)
            #expect(try read(0, 4096, handle, datastore) == [UInt8](repeating: 7, count: 4096))
            datastore.close()
        }
    }

    /// The scan has read the image, and no client yet.
    @Test func changeBeforeTheFirstReadIsSeen() throws {
        try withImage(introspects: false) { first, _, path in
            first.close()
            let directory = path.dropLast("/export/disk.img".count)
            let datastore = try makeDatastore(String(directory), introspects: true, tier: nil)
            datastore.openImages()
            for _ in 0..<400 where datastore.report().images.first?.scan == nil { usleep(25_000) }
            let device = try FileDevice(path: path, access: .readWrite, mode: .buffered)
            try [UInt8](repeating: 7, count: 4096).withUnsafeBytes { try device.write($0, at: 4096) }
            let handle = try handle(of: "disk.img", in: datastore)
            #expect(try read(4096, 4096, handle, datastore) == [UInt8](repeating: 7, count: 4096))
            datastore.close()
        }
    }

    /// Names come and go, and attributes change, by the server's doing: nothing is read again for that.
    @Test func ownChangesOfNamesAndAttributesAreNoExternalOnes() throws {
        try withImage(introspects: true) { datastore, handle, _ in
            let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
            let file = try datastore.openFile(handle)
            for _ in 0..<5 {
                _ = try datastore.link(handle, root, "second", as: .root)
                _ = try datastore.remove(root, "second", as: .root)
                _ = try datastore.rename(root, "disk.img", to: root, "other.img", as: .root)
                _ = try datastore.rename(root, "other.img", to: root, "disk.img", as: .root)
                _ = try datastore.setAttributes(handle, AttributeChanges(mode: 0o640), guard: nil, as: .root)
                _ = try datastore.write(
                    handle, offset: 5000, bytes: ByteBuffer(bytes: [1]), stability: .unstable, as: .root)
                #expect(try !file.mayBeChanged(file.descriptor.attributes()))
            }
            datastore.close()
        }
    }

    enum FirstCall: CaseIterable {
        case read, write, mode, owner, times, size, create

        func make(_ handle: HandleAlias, _ datastore: Datastore) throws {
            let now = AttributeChanges.Time.now
            func set(_ changes: AttributeChanges) throws {
                _ = try datastore.setAttributes(handle, changes, guard: nil, as: .root)
            }
            switch self {
            case .read: break
            case .write:
                let bytes = ByteBuffer(bytes: [7])
                _ = try datastore.write(handle, offset: 4095, bytes: bytes, stability: .fileSync, as: .root)
            case .mode: try set(AttributeChanges(mode: 0o600))
            case .owner: try set(AttributeChanges(uid: 1, gid: 1))
            case .times: try set(AttributeChanges(accessTime: now, modificationTime: now))
            case .size: try set(AttributeChanges(size: UInt64(CoherenceTests.imageSize) - 4096))
            case .create:
                let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
                let mode = CreateMode.unchecked(AttributeChanges(size: UInt64(CoherenceTests.imageSize) - 4096))
                _ = try datastore.create(root, "disk.img", mode, as: .root)
            }
        }
    }

    /// Calls `body` with a datastore that serves one image with an ext3 in it, known to introspection if that is on.
    private func withImage(
        introspects: Bool, tier: DatastoreConfiguration.TierMode? = nil,
        _ body: (_ datastore: Datastore, _ handle: HandleAlias, _ path: String) throws -> Void
    ) throws {
        try withTemporaryDirectory { directory in
            mkdir("\(directory)/export", 0o755)
            let path = "\(directory)/export/disk.img"
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", path, "\(Self.imageSize >> 10)k"])
            let datastore = try makeDatastore(directory, introspects: introspects, tier: tier)
            let handle = try handle(of: "disk.img", in: datastore)
            if introspects { try waitUntilCached(handle, datastore) }
            try body(datastore, handle, path)
        }
    }

    private func makeDatastore(
        _ path: String, introspects: Bool, tier: DatastoreConfiguration.TierMode?
    ) throws -> Datastore {
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(path)/export")], stateDirectory: "\(path)/state")
        configuration.introspects = introspects
        configuration.cacheSize = 1 << 20
        if let tier {
            mkdir("\(path)/ssd", 0o700)
            configuration.tier = .init(directories: ["\(path)/ssd"], mode: tier, size: 64 << 20)
        }
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return try Datastore(configuration: configuration, logger: logger)
    }

    private func handle(of name: String, in datastore: Datastore) throws -> HandleAlias {
        let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
        return try datastore.lookup(root, FileName(name), as: .root).handle
    }

    private func waitUntilCached(_ handle: HandleAlias, _ datastore: Datastore) throws {
        _ = try read(0, 1, handle, datastore)
        for _ in 0..<200 {
            if datastore.files.file(for: handle)?.isCached == true { return }
            usleep(50_000)
        }
        Issue.record("the image was not recognised within ten seconds")
    }

    private func read(_ offset: Int, _ count: Int, _ handle: HandleAlias, _ datastore: Datastore) throws -> [UInt8] {
        var buffer = ByteBuffer()
        _ = try datastore.read(handle, offset: UInt64(offset), count: count, as: .root, into: &buffer)
        return Array(buffer.readableBytesView)
    }
}

/// A client that knows what it wrote to its sectors: those whose number is its own modulo the number of clients.
private struct Client {
    let number: Int
    let datastore: Datastore
    let handle: HandleAlias
    let imageSize: Int
    private(set) var versions: [Int: UInt32] = [:]
    private var random: UInt64

    init(number: Int, datastore: Datastore, handle: HandleAlias, imageSize: Int) {
        self.number = number
        self.datastore = datastore
        self.handle = handle
        self.imageSize = imageSize
        random = UInt64(number + 1)
    }

    static func contents(sector: Int, version: UInt32) -> [UInt8] {
        let seed = UInt32(truncatingIfNeeded: sector) &* 2_654_435_761 ^ version
        return (0..<512).map { UInt8(truncatingIfNeeded: seed >> UInt32($0 % 4 * 8)) ^ UInt8(truncatingIfNeeded: $0) }
    }

    mutating func step() throws {
        // Half of the accesses go to a few pages, so that the clients meet.
        let pages = next(2) == 0 ? 16 : imageSize / 4096
        let sector = next(pages) * 8 + next(2) * 4 + number
        if next(3) == 0 {
            try check(sector)
        } else {
            try write(sector)
        }
    }

    mutating func checkAll() throws {
        for sector in versions.keys { try check(sector) }
    }

    private mutating func write(_ sector: Int) throws {
        let version = UInt32(truncatingIfNeeded: next(1 << 31))
        let bytes = ByteBuffer(bytes: Self.contents(sector: sector, version: version))
        let stability: WriteStability = next(50) == 0 ? .fileSync : .unstable
        _ = try datastore.write(
            handle, offset: UInt64(sector * 512), bytes: bytes, stability: stability, as: .root)
        versions[sector] = version
        try check(sector)
    }

    /// Reads the pages around the sector, or the sector alone, as the server's two paths do it.
    private mutating func check(_ sector: Int) throws {
        guard let version = versions[sector] else { return }
        let start = next(2) == 0 ? sector * 512 : sector * 512 & ~4095
        let count = next(2) == 0 ? 8192 : sector * 512 + 512 - start
        var buffer = ByteBuffer()
        let fast = try datastore.readFromCache(
            handle, offset: UInt64(start), count: count, as: .root, into: &buffer)
        if fast == nil {
            _ = try datastore.read(handle, offset: UInt64(start), count: count, as: .root, into: &buffer)
        }
        let found = buffer.getBytes(at: sector * 512 - start, length: 512)
        guard found == Self.contents(sector: sector, version: version) else {
            throw StaleRead(sector: sector, wasCached: fast != nil)
        }
    }

    private mutating func next(_ bound: Int) -> Int {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(random >> 33) % bound
    }
}

private struct StaleRead: Error {
    let sector: Int
    let wasCached: Bool
}
