import BlockStorage
import Control
import Datastore
import Glibc
import Logging
import NFS
import NIOCore
import NIOPosix
import SunRPC

/// The programs, the sockets that they are served on, and the threads that they run on.
final class Server: Sendable {
    /// Threads for bulk data: as many requests can wait for the disk at a time.
    private static let bulkThreads = 32
    /// Threads for names, attributes and locks.
    private static let metadataThreads = 8
    /// Threads for reading directories.
    private static let listingThreads = 4

    /// A server that cannot listen where it should.
    struct StartError: Error, CustomStringConvertible {
        let description: String
    }

    private let datastore: Datastore
    private let logger: Logger
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
    private let bulkPool = IOPool(name: "nfs-data", threadCount: Server.bulkThreads)
    private let metadataPool = IOPool(name: "nfs-names", threadCount: Server.metadataThreads)
    private let listingPool = IOPool(name: "nfs-lists", threadCount: Server.listingThreads)
    private let server: RPCServer
    private let nfs: NFSProgram
    private let mount: MountProgram
    private let registration = Locked<PortmapRegistration?>(nil)
    private let control: ControlServer
    private let isControlRequired: Bool
    private let memoryReturn = MemoryReturn()

    /// A server for `datastore`.
    ///
    /// - Parameters:
    ///   - control: the path of the socket for administrators; nil for the one in the state directory,
    ///     which another server may have.
    ///   - requiresPrivilegedPorts: whether only root of a client's machine may connect.
    init(datastore: Datastore, control: String?, requiresPrivilegedPorts: Bool, logger: Logger) {
        isControlRequired = control != nil
        self.control = ControlServer(
            datastore: datastore, path: control ?? "\(datastore.stateDirectory)/\(ControlServer.socketName)",
            group: group, logger: logger)
        self.datastore = datastore
        self.logger = logger
        nfs = NFSProgram(datastore: datastore, bulkPool: bulkPool, metadataPool: metadataPool, listingPool: listingPool)
        mount = MountProgram(datastore: datastore, pool: metadataPool, logger: logger)
        server = RPCServer(
            programs: [nfs, mount], limits: Self.limits(requiresPrivilegedPorts), group: group, logger: logger
        ) { address in
            let client = ClientAddress(address)
            return datastore.exports.contains { $0.admits(client) }
        }
    }

    /// Listens, and tells rpcbind where; a missing rpcbind is logged and no error.
    func start(host: String, port: Int, mountPort: Int, registers: Bool) async throws {
        let port = try await listen(host, port, "--port")
        let mountPort = try await listen(host, mountPort, "--mount-port")
        memoryReturn.start(server)
        let mountOptions = "vers=3,nolock,tcp,port=\(port),mountport=\(mountPort)"
        for export in datastore.exports {
            logger.info(
                """
                serving \(export.path) on \(host), NFS at port \(port), MOUNT at port \(mountPort); clients mount it with \
                -o \(mountOptions) (there are no file locks yet: without nolock a mount waits for them)
                """)
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
        let transports: [PortmapRegistration.Transport] =
            host == "::" ? [.tcp, .tcp6] : host.contains(":") ? [.tcp6] : [.tcp]
        let candidate = PortmapRegistration(services: services, transports: transports)
        do throws(PortmapError) {
            try candidate.register()
            registration.withLock { $0 = candidate }
        } catch {
            logger.warning("\(error); clients have to mount with -o \(mountOptions)")
        }
    }

    /// Answers what is in flight, puts everything on stable storage, and ends.
    func stop() async {
        let registered = registration.withLock { $0 }
        registered?.unregister()
        memoryReturn.stop()
        await control.stop()
        await server.shutDown()
        bulkPool.shutDown()
        metadataPool.shutDown()
        listingPool.shutDown()
        control.finish()
        datastore.close()
        try? await group.shutdownGracefully()
    }

    /// The limits of connections: each takes a descriptor, and files need some, too.
    private static func limits(_ requiresPrivilegedPorts: Bool) -> RPCLimits {
        var limits = RPCLimits()
        limits.requiresPrivilegedPorts = requiresPrivilegedPorts
        var descriptors = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &descriptors) == 0 {
            limits.maximumConnections = min(limits.maximumConnections, max(16, Int(clamping: descriptors.rlim_cur) / 4))
            limits.maximumConnectionsPerClient = min(
                limits.maximumConnectionsPerClient, limits.maximumConnections / 2)
        }
        return limits
    }

    private func listen(_ host: String, _ port: Int, _ option: String) async throws -> Int {
        do {
            return try await server.bind(host: host, port: port)
        } catch {
            let reason =
                switch (error as? IOError)?.errnoCode {
                case EADDRINUSE:
                    "another program, perhaps another NFS server, listens there (ss -ltnp shows which); stop it, or "
                        + "name another port with \(option)"
                case EACCES: "ports below 1024 need root; name another with \(option)"
                case EADDRNOTAVAIL: "no interface of this machine has this address; name another with --listen"
                case EAFNOSUPPORT: "this machine has no IPv6; name an address with --listen"
                default: "\(error)"
                }
            throw StartError(description: "cannot listen on \(host) port \(port): \(reason)")
        }
    }
}
