import BlockStorage
import Foundation
import Logging
import NIOCore
import TestTools
import Testing

@testable import Datastore
@testable import Introspection

/// As ``ArrivalTests``, through the server: the classes that its cache and its redirect log decide by, with digests
/// when the server gets round to them.
@Suite(.serialized, .enabled(if: canMountImages)) struct ServerArrivalTests {
    @Test func blocksAreKnownWhenTheServerIsAsked() throws {
        let test = ArrivalTests.Case(
            name: "ext2", recipe: ImageRecipe(type: "ext2", blockSize: 1024, size: "160M"), metadata: 0.95, data: 0.95)
        let trace = try GuestTrace.record(test.recipe, options: test.options, steps: ArrivalTests.steps)
        try withTemporaryDirectory { directory in
            let image = directory + "/export/disk.img"
            try FileManager.default.createDirectory(atPath: directory + "/export", withIntermediateDirectories: true)
            chmod(directory, 0o755)
            try Data(trace.initial.buffer.bytes).write(to: URL(fileURLWithPath: image))
            var configuration = DatastoreConfiguration(
                exports: [.init(path: directory + "/export")], stateDirectory: directory + "/state")
            configuration.cacheSize = 64 << 20
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let datastore = try Datastore(configuration: configuration, logger: logger)
            defer { datastore.close() }
            let tallies = try Self.replay(trace, to: datastore, image: image, blockSize: test.recipe.blockSize)
            tallies.print("\(test.name) through the server")
            #expect(tallies.share(metadata: true) >= test.metadata)
            #expect(tallies.share(metadata: false) >= test.data)
        }
    }

    private static func replay(
        _ trace: GuestTrace, to datastore: Datastore, image: String, blockSize: Int
    ) throws -> ArrivalTests.Tallies {
        let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
        let handle = try datastore.lookup(root, FileName("disk.img"), as: .root).handle
        var buffer = ByteBuffer()
        _ = try datastore.read(handle, offset: 0, count: 4096, as: .root, into: &buffer)
        let file = try #require(datastore.files.file(for: handle))
        for _ in 0..<400 where !file.isCached { usleep(25_000) }
        let session = try #require(file.member?.session)
        try waitUntilIdle(session)
        var tallies = ArrivalTests.Tallies()
        var done = 0
        for quietPoint in trace.quietPoints {
            var arrived: [(offset: Int, blockClass: BlockClass)] = []
            for write in trace.writes[done..<quietPoint] {
                try trace.withBytes(of: write) { bytes in
                    file.member?.forEachClass(ofWrite: bytes, at: write.offset) { range, blockClass in
                        for offset in stride(from: range.offset, to: range.end, by: blockSize) {
                            arrived.append((offset, blockClass))
                        }
                    }
                    _ = try datastore.write(
                        handle, offset: UInt64(write.offset), bytes: ByteBuffer(bytes: bytes), stability: .unstable,
                        as: .root)
                }
            }
            done = quietPoint
            try waitUntilIdle(session)
            #expect(session.introspector.status.state == .current)
            let device = try FileDevice(path: image, access: .readOnly, mode: .buffered)
            let fresh = DiskIntrospector(name: "fresh", diskSize: device.size)
            _ = try fresh.scan(DeviceReader(device), parallelism: 1)
            tallies.add(arrived, truth: fresh)
        }
        return tallies
    }

    private static func waitUntilIdle(_ session: ImageSession) throws {
        for _ in 0..<800 where session.isBusy { usleep(25_000) }
        try #require(!session.isBusy)
    }
}
