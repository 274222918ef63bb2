import BlockStorage
import Glibc
import Introspection
import Logging
import NIOCore
import TestTools
import Testing

@testable import Datastore

/// What the datastore puts into its cache, and what it says of it.
@Suite(.serialized)
struct CacheTests {
    private static let imageSize = 32 << 20

    private struct Bed {
        let directory: String
        let datastore: Datastore

        func handle(_ name: String) throws -> FileHandle {
            let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
            return try datastore.lookup(root, FileName(name), as: .root).handle
        }

        func read(_ range: ByteRange, _ handle: FileHandle) throws {
            var buffer = ByteBuffer()
            guard
                try datastore.readFromCache(
                    handle, offset: UInt64(range.offset), count: range.length, as: .root, into: &buffer) == nil
            else { return }
            _ = try datastore.read(
                handle, offset: UInt64(range.offset), count: range.length, as: .root, into: &buffer)
        }

        func image(_ name: String) throws -> DatastoreReport.Image {
            try #require(datastore.report().images.first { $0.path.hasSuffix("/\(name)") })
        }

        /// Waits until `name` is scanned and nothing is due.
        func waitUntilScanned(_ name: String) throws {
            for _ in 0..<400 {
                let image = datastore.report().images.first { $0.path.hasSuffix("/\(name)") }
                if let image, image.scan != nil, !image.isBusy { return }
                usleep(50_000)
            }
            Issue.record("not within 20 seconds")
        }
    }

    private func withBed(
        images: [String] = ["disk.img"], cacheSize: Int, _ body: (Bed) throws -> Void
    ) throws {
        try withTemporaryDirectory { directory in
            let export = "\(directory)/export"
            mkdir(export, 0o755)
            mkdir("\(directory)/guest", 0o755)
            for number in 0..<200 {
                mkdir("\(directory)/guest/\(number)", 0o755)
            }
            try runTool("dd", ["if=/dev/urandom", "of=\(directory)/guest/file", "bs=1M", "count=8", "status=none"])
            let template = "\(directory)/template.img"
            try runTool(
                "mke2fs",
                ["-q", "-t", "ext4", "-b", "4096", "-d", "\(directory)/guest", template, "\(Self.imageSize >> 12)"])
            for image in images { try runTool("cp", ["--sparse=always", template, "\(export)/\(image)"]) }
            var configuration = DatastoreConfiguration(
                exports: [.init(path: export)], stateDirectory: "\(directory)/state")
            configuration.cacheSize = cacheSize
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let bed = Bed(
                directory: directory, datastore: try Datastore(configuration: configuration, logger: logger))
            defer { bed.datastore.close() }
            for image in images { try bed.read(ByteRange(offset: 0, length: 1), bed.handle(image)) }
            for image in images { try bed.waitUntilScanned(image) }
            try body(bed)
        }
    }

    /// The ranges of `name` of one class.
    private func ranges(_ blockClass: BlockClass, of name: String, _ bed: Bed) -> [ByteRange] {
        var found: [ByteRange] = []
        bed.datastore.forEachClassMap { path, runs in
            guard path.hasSuffix("/\(name)") else { return }
            found += runs.filter { $0.1 == blockClass }.map(\.0)
        }
        return found
    }

    @Test func scanIsThePreload() throws {
        try withBed(cacheSize: 16 << 20) { bed in
            let image = try bed.image("disk.img")
            #expect(image.cache.resident["directory"] ?? 0 >= 200)
            let handle = try bed.handle("disk.img")
            for range in ranges(.directory, of: "disk.img", bed) { try bed.read(range, handle) }
            let cache = try bed.image("disk.img").cache
            #expect(cache.misses["directory"] == nil)
            #expect(cache.hits["directory"] ?? 0 >= 200)
        }
    }

    /// A report makes them of all images, one after the other.
    @Test func objectIndexesOfAReportAreNotKept() throws {
        try withBed(images: ["a.img", "b.img"], cacheSize: 16 << 20) { bed in
            var sizes: [Int] = []
            bed.datastore.forEachObjectIndex { _, introspector, reader in
                introspector.forEachName(reader) { _, _, _ in true }
                sizes.append(introspector.objectIndexBytes)
            }
            #expect(sizes.count == 2 && sizes.allSatisfy { $0 > 0 })
            #expect(bed.datastore.files.sessions.allSatisfy { $0.introspector.objectIndexBytes == 0 })
            bed.datastore.endAdministration()
            bed.datastore.forEachObjectIndex { _, _, _ in Issue.record("a stop waits for it") }
        }
    }

    @Test func journalIsNeverKept() throws {
        try withBed(cacheSize: 64 << 20) { bed in
            let handle = try bed.handle("disk.img")
            let journal = try #require(ranges(.journal, of: "disk.img", bed).first { $0.length >= 1 << 20 })
            for offset in stride(from: journal.offset, to: journal.offset + 1 << 20, by: 4096) {
                let range = ByteRange(offset: offset, length: 4096)
                try bed.read(range, handle)
                var bytes = ByteBuffer()
                _ = try bed.datastore.read(handle, offset: UInt64(offset), count: 4096, as: .root, into: &bytes)
                _ = try bed.datastore.write(
                    handle, offset: UInt64(offset), bytes: bytes, stability: .unstable, as: .root)
                try bed.read(range, handle)
            }
            let cache = try bed.image("disk.img").cache
            #expect(cache.resident["journal"] == nil)
            #expect(cache.misses["journal"] ?? 0 >= 256)
        }
    }

    /// Metadata that a guest writes is in RAM at once; pages of two images are counted apart.
    @Test func writtenMetadataIsKeptAndCountedByImage() throws {
        try withBed(images: ["one.img", "two.img"], cacheSize: 16 << 20) { bed in
            let handle = try bed.handle("one.img")
            let directory = try #require(ranges(.directory, of: "one.img", bed).first)
            let page = ByteRange(offset: directory.offset, length: 4096)
            let file = try #require(bed.datastore.files.file(for: handle))
            var bytes = ByteBuffer()
            _ = try bed.datastore.read(handle, offset: UInt64(page.offset), count: 4096, as: .root, into: &bytes)
            file.forgetPages(of: page)
            let before = try bed.image("one.img").cache
            _ = try bed.datastore.write(
                handle, offset: UInt64(page.offset), bytes: bytes, stability: .unstable, as: .root)
            try bed.read(page, handle)
            let after = try bed.image("one.img").cache
            #expect(after.misses == before.misses)
            #expect(after.hits["directory", default: 0] == before.hits["directory", default: 0] + 1)
            #expect(try bed.image("two.img").cache.hits["directory"] == nil)
        }
    }

    @Test func warmingBringsBackWhatAStreamOrAnAdministratorTookAway() throws {
        try withBed(cacheSize: 16 << 20) { bed in
            let path = try #require(bed.datastore.imagePaths.first)
            let file = try #require(bed.datastore.files.file(for: try bed.handle("disk.img")))
            file.forgetPages(of: ByteRange(offset: 0, length: Self.imageSize))
            #expect(try bed.image("disk.img").cache.resident.isEmpty)
            let result = try bed.datastore.warm(path)
            #expect(result.metadataBytes == result.cachedBytes)
            #expect(try bed.image("disk.img").cache.resident["directory"] ?? 0 >= 200)
            #expect(throws: DatastoreError.self) { try bed.datastore.warm("\(path).other") }
        }
    }

    /// Seventeen images for a cache with sixteen numbers: one is read past the cache, as it was before it was known.
    @Test func imageForWhichThereIsNoNumberIsServedAsAFile() throws {
        let names = (1...17).map { "disk\($0).img" }
        try withBed(images: names, cacheSize: 1 << 20) { bed in
            let cached = try names.filter { name in
                try bed.datastore.files.file(for: bed.handle(name))?.isCached == true
            }
            #expect(cached.count == 16)
            for name in names {
                let local = try FileDevice(
                    path: "\(bed.datastore.exports[0].path)/\(name)", access: .readOnly, mode: .buffered)
                var bytes = ByteBuffer()
                _ = try bed.datastore.read(
                    try bed.handle(name), offset: 1024, count: 65_536, as: .root, into: &bytes)
                #expect(Array(bytes.readableBytesView) == (try local.read(ByteRange(offset: 1024, length: 65_536))))
            }
        }
    }
}
