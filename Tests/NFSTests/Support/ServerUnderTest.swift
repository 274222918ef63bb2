import BlockStorage
import Datastore
import Foundation
import Logging
import NIOPosix
import SunRPC

@testable import NFS

/// The real server on a directory of its own, on ports that the kernel chose.
final class ServerUnderTest {
    let directory: TemporaryDirectory
    /// The export's path.
    let path: String
    let nfsPort: Int
    let mountPort: Int
    let datastore: Datastore
    /// The pool of the bulk lane: one thread, so that a test can occupy it.
    let bulkPool: IOPool

    /// Of which one client has two at most.
    private static let metadataThreads = 3
    private let metadataPool: IOPool
    private let listingPool: IOPool
    private let group: MultiThreadedEventLoopGroup
    private let servers: [RPCServer]

    /// Serves an empty directory (`prepare` may fill it) while `body` runs.
    static func run(
        configure: (inout DatastoreConfiguration.Export) -> Void = { _ in },
        prepare: (String) throws -> Void = { _ in },
        userDatabase: @escaping Identities.Lookup = Identities.groupsInUserDatabase,
        logger: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
        _ body: (ServerUnderTest) async throws -> Void
    ) async throws {
        let server = try await ServerUnderTest(
            configure: configure, prepare: prepare, userDatabase: userDatabase, logger: logger)
        do {
            try await body(server)
        } catch {
            try await server.stop()
            throw error
        }
        try await server.stop()
    }

    private init(
        configure: (inout DatastoreConfiguration.Export) -> Void, prepare: (String) throws -> Void,
        userDatabase: @escaping Identities.Lookup, logger: Logger
    ) async throws {
        directory = try TemporaryDirectory()
        path = directory.path + "/export"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        try prepare(path)
        var export = DatastoreConfiguration.Export(path: path)
        configure(&export)
        datastore = try Datastore(
            configuration: DatastoreConfiguration(exports: [export], stateDirectory: directory.path + "/state"),
            logger: logger)
        bulkPool = IOPool(name: "test-bulk", threadCount: 1)
        metadataPool = IOPool(name: "test-metadata", threadCount: Self.metadataThreads)
        listingPool = IOPool(name: "test-lists", threadCount: 1)
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let nfs = RPCServer(
            programs: [
                NFSProgram(
                    datastore: datastore, bulkPool: bulkPool, metadataPool: metadataPool,
                    listingPool: listingPool, identities: Identities(lookUp: userDatabase))
            ],
            limits: RPCLimits(), group: group, logger: logger)
        let mount = RPCServer(
            programs: [MountProgram(datastore: datastore, pool: metadataPool, logger: logger)],
            limits: RPCLimits(), group: group, logger: logger)
        servers = [nfs, mount]
        nfsPort = try await nfs.bind(host: "127.0.0.1", port: 0)
        mountPort = try await mount.bind(host: "127.0.0.1", port: 0)
    }

    /// Occupies all threads that answer names and attributes, until what it returns is called.
    func holdMetadataThreads() -> () -> Void {
        let (held, released) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        for _ in 0..<Self.metadataThreads {
            metadataPool.submit {
                held.signal()
                released.wait()
            }
        }
        for _ in 0..<Self.metadataThreads { held.wait() }
        return { for _ in 0..<Self.metadataThreads { released.signal() } }
    }

    private func stop() async throws {
        for server in servers {
            await server.shutDown()
        }
        bulkPool.shutDown()
        metadataPool.shutDown()
        listingPool.shutDown()
        try await group.shutdownGracefully()
    }
}

/// A directory that goes away with this object.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array((NSTemporaryDirectory() + "introspect-nfs-XXXXXX").utf8CString)
        guard let path = mkdtemp(&template) else { throw POSIXError(.EIO) }
        self.path = String(cString: path)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }
}
