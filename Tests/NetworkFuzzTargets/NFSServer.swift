import BlockStorage
import Datastore
import Foundation
import Logging
import NFS
import NIOPosix
import SunRPC
import Synchronization
import TestTools

/// The real server, on a directory of its own and a port of loopback.
struct NFSServer {
    /// The directory that it exports.
    let export: String
    /// The handle of that.
    let root: [UInt8]
    /// The port.
    let port: Int
    private let server: RPCServer

    init() {
        let logger = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }
        do {
            let directory = try makeDirectoryOfThisProcess()
            export = directory + "/export"
            try FileManager.default.createDirectory(atPath: export, withIntermediateDirectories: true)
            chmod(directory, 0o755)
            var configuration = DatastoreConfiguration(
                exports: [DatastoreConfiguration.Export(path: export)], stateDirectory: directory + "/state")
            configuration.cacheSize = 16 << 20
            let datastore = try Datastore(configuration: configuration, logger: logger)
            root = try datastore.mount(export, client: .loopback).withUnsafeBytes { [UInt8]($0) }
            let program = NFSProgram(
                datastore: datastore, bulkPool: IOPool(name: "bulk", threadCount: 1),
                metadataPool: IOPool(name: "metadata", threadCount: 1))
            server = RPCServer(
                programs: [program], group: MultiThreadedEventLoopGroup(numberOfThreads: 1), logger: logger)
        } catch {
            fatalError("\(error)")
        }
        port = Self.bind(server)
    }

    /// Waits for what libFuzzer cannot: it calls us on a thread, not in a task.
    ///
    /// The task has another priority, and threads of its own with it: this may be one of the few that tests have.
    private static func bind(_ server: RPCServer) -> Int {
        let port = PortBox()
        Task(priority: .high) {
            do {
                let bound = try await server.bind(host: "127.0.0.1", port: 0)
                port.value.withLock { $0 = bound }
            } catch {
                fatalError("\(error)")
            }
            port.isSet.signal()
        }
        port.isSet.wait()
        return port.value.withLock { $0 }
    }

    private final class PortBox: Sendable {
        let value = Mutex(0)
        let isSet = DispatchSemaphore(value: 0)
    }
}
