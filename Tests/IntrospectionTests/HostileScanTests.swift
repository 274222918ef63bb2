import BlockStorage
import Control
import Foundation
import Logging
import NIOCore
import NIOPosix
import TestTools
import Testing

@testable import Datastore
@testable import Introspection

/// What scans of hostile images leave to others: their turn, and memory.
@Suite(.serialized) struct HostileScanTests {
    /// Serves an export with these files, of which the server has looked at none.
    private func serve(_ disks: [(name: String, disk: SparseDisk)]) throws -> Datastore {
        let directory = try makeDirectoryOfThisProcess()
        mkdir("\(directory)/export", 0o755)
        for (name, disk) in disks { try HostileTenant.store(disk, at: "\(directory)/export/\(name)") }
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(directory)/export")], stateDirectory: "\(directory)/state")
        configuration.cacheSize = 16 << 20
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return try Datastore(configuration: configuration, logger: logger)
    }

    /// Waits until the image is followed, which takes a read.
    private func session(of name: FileName, _ datastore: Datastore) throws -> ImageSession {
        let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
        let handle = try datastore.lookup(root, name, as: .root).handle
        var buffer = ByteBuffer()
        _ = try datastore.read(handle, offset: 0, count: 512, as: .root, into: &buffer)
        for _ in 0..<3000 {
            if let session = datastore.files.file(for: handle)?.member?.session { return session }
            usleep(10_000)
        }
        throw ToolFailure(description: "\(name) is not followed")
    }

    private func wait(seconds: Int, until isDone: () -> Bool) {
        for _ in 0..<seconds * 100 where !isDone() { usleep(10_000) }
    }

    /// While a client waits for the disk each read of a scan gives way, and one of very many reads takes minutes.
    @Test(.timeLimit(.minutes(10))) func anImageThatTakesLongDoesNotHoldUpTheFirstScanOfAnother() throws {
        let polite = try HostileFileSystem(["-t", "ext4", "-b", "4096", "-O", "sparse_super2"], size: "16M")
        let disks = [("long.img", try HostileImage.farAndWide().files[0].disk), ("polite.img", polite.disk)]
        let datastore = try serve(disks)
        defer { datastore.close() }
        let long = try datastore.files.background.whileReadWaits {
            let long = try session(of: FileName("long.img"), datastore)
            let polite = try session(of: FileName("polite.img"), datastore)
            wait(seconds: 240) { polite.lastScan != nil }
            #expect(polite.lastScan?.status.state == .current)
            #expect(long.lastScan == nil && long.isBusy)
            return long
        }
        // It comes to its end, too.
        wait(seconds: 300) { long.lastScan != nil }
        #expect(long.lastScan?.status.fileSystems.count == 1)
    }

    /// Orders about an image whose scan takes minutes, as many as there are threads for.
    @Test(.timeLimit(.minutes(10))) func questionsAreAnsweredWhileOrdersTakeLong() async throws {
        let datastore = try serve([("long.img", try HostileImage.farAndWide().files[0].disk)])
        defer { datastore.close() }
        let socket = "\(datastore.stateDirectory)/control"
        let server = ControlServer(
            datastore: datastore, path: socket, group: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test"))
        try await server.start()
        let clients = IOPool(name: "clients", threadCount: 8)
        try datastore.files.background.whileReadWaits {
            let long = try session(of: FileName("long.img"), datastore)
            for _ in 0..<8 {
                clients.submit { _ = try? ControlClient(path: socket).send(.init(.warm, image: "long.img")) }
            }
            usleep(500_000)
            let duration = try ContinuousClock().measure {
                let reply = try ControlClient(path: socket).send(.init(.status))
                #expect(reply.status?.exports.count == 1)
            }
            #expect(duration < .seconds(30) && long.lastScan == nil)
        }
        await server.stop()
        clients.shutDown()
        server.finish()
    }

    /// Five maps, each of which takes more than what is stored of its image is worth, and room for two.
    @Test(.timeLimit(.minutes(10))) func mapsOfAllImagesTogetherHaveALimit() throws {
        let disk = try HostileImage.bitmaps().files[0].disk
        let names = (0..<5).map { "disk\($0).img" }
        let datastore = try serve(names.map { ($0, disk) })
        defer { datastore.close() }
        let memory = datastore.files.background.mapMemory
        let first = try session(of: FileName(names[0]), datastore)
        wait(seconds: 300) { first.lastScan != nil }
        let share = MapMemory.share(ofMap: first.introspector.mapMemoryBytes, storedBytes: first.storedBytes)
        try #require(share > 0)
        let others = MapMemory.budget - share * 5 / 2
        #expect(memory.change(from: 0, to: others))
        let sessions = try [first] + names[1...].map { try session(of: FileName($0), datastore) }
        wait(seconds: 300) { sessions.allSatisfy { $0.lastScan != nil } }
        let dropped = sessions.filter { $0.introspector.status.state == .notScanned }
        #expect(dropped.count == 3)
        for session in dropped {
            #expect(session.lastScan?.problems.contains { $0.contains("no memory for its map") } == true)
            #expect(session.hasFailed && session.files.allSatisfy { !$0.isCached })
        }
        // What is gone leaves its room to others.
        for session in sessions { datastore.files.end(session) }
        #expect(memory.change(from: others, to: MapMemory.budget))
    }
}
