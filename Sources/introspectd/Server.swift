import BlockStorage
import Control
import Datastore
import Logging
import NFS
import NIOCore
import NIOPosix
import SunRPC
import Synchronization

/// The programs, the sockets that they are served on, and the threads that they run on.
final class Server: Sendable {
    /// Threads for bulk data: as many requests can wait for the disk at a time.
    private static let bulkThreads = 32
    /// Threads for names, attributes and locks.
    private static let metadataThreads = 8

    /// A server that cannot listen where it should.
    struct StartError: Error, CustomStringConvertible {
        let description: String
    }

    private let datastore: Datastore
    private let logger: Logger
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
    private let bulkPool = IOPool(name: "nfs-data", threadCount: Server.bulkThreads)
    private let metadataPool = IOPool(name: "nfs-names", threadCount: Server.metadataThreads)
    private let server: RPCServer
    private let nfs: NFSProgram
    private let mount: MountProgram
    private let registration = Mutex<PortmapRegistration?>(nil)
    private let control: ControlServer
    private let isControlRequired: Bool

    /// A server for `datastore`.
    ///
    /// - Parameter control: the path of the socket for administrators; nil for the one in the state directory, which
    ///   another server may have.
    init(datastore: Datastore, control: String?, logger: Logger) {
        isControlRequired = control != nil
        self.control = ControlServer(
            datastore: datastore, path: control ?? "\(datastore.stateDirectory)/\(ControlServer.socketName)",
            group: group)
        self.datastore = datastore
        self.logger = logger
        nfs = NFSProgram(datastore: datastore, bulkPool: bulkPool, metadataPool: metadataPool)
        mount = MountProgram(datastore: datastore, pool: metadataPool, logger: logger)
        server = RPCServer(programs: [nfs, mount], group: group, logger: logger) { address in
            let client = ClientAddress(address)
            return datastore.exports.contains { $0.admits(client) }
        }
    }

    /// Listens, and tells rpcbind where; a missing rpcbind is logged and no error.
    func start(host: String, port: Int, mountPort: Int, registers: Bool) async throws {
        let port = try await listen(host, port)
        let mountPort = try await listen(host, mountPort)
        for export in datastore.exports {
            logger.info("serving \(export.path) on \(host), NFS at port \(port), MOUNT at port \(mountPort)")
        }
        do {
            try await control.start()
        } catch {
            guard !isControlRequired else { throw error }
            logger.warning("introspectctl cannot reach this server: \(error)")
        }
        guard registers else { return }
        let services = [
            PortmapRegistration.Service(program: nfs.number, versions: nfs.versions, port: UInt16(port)),
            PortmapRegistration.Service(program: mount.number, versions: mount.versions, port: UInt16(mountPort)),
        ]
        let transport: PortmapRegistration.Transport = host.contains(":") ? .tcp6 : .tcp
        let candidate = PortmapRegistration(services: services, transports: [transport])
        do throws(PortmapError) {
            try candidate.register()
            registration.withLock { $0 = candidate }
        } catch {
            logger.warning("\(error)")
        }
    }

    /// Answers what is in flight, puts everything on stable storage, and ends.
    func stop() async {
        registration.withLock { $0?.unregister() }
        await control.stop()
        await server.shutDown()
        bulkPool.shutDown()
        metadataPool.shutDown()
        datastore.close()
        try? await group.shutdownGracefully()
    }

    private func listen(_ host: String, _ port: Int) async throws -> Int {
        do {
            return try await server.bind(host: host, port: port)
        } catch {
            throw StartError(description: "cannot listen on \(host) port \(port): \(error)")
        }
    }
}
