import BlockStorage
import Datastore
import Logging
import NFS
import NIOPosix
import SunRPC
import TestBed

/// The whole server but for the daemon around it, in this process, with one image that introspection follows; and a
/// client of it that asks for no memory.
final class LoopbackServer: Sendable {
    /// Blocks that are read and written again and again.
    private static let blocks = 16

    private let datastore: Datastore
    private let group: MultiThreadedEventLoopGroup
    private let caller: LoopbackCaller
    private let directory: [UInt8]
    private let file: [UInt8]
    private let name: String

    /// Serves `export` on a port of loopback, once `file` in it is known and all is at rest.
    init(export: String, state: String, file name: String) async throws {
        let logger = Logger(label: "hot-paths") { _ in SwiftLogNoOpLogHandler() }
        var configuration = DatastoreConfiguration(
            exports: [DatastoreConfiguration.Export(path: export)], stateDirectory: state)
        configuration.cacheSize = 64 << 20
        datastore = try Datastore(configuration: configuration, logger: logger)
        let root = try datastore.mount(export, client: .loopback)
        let handle = try datastore.lookup(root, FileName(name), as: .root).handle
        directory = root.withUnsafeBytes { [UInt8]($0) }
        file = handle.withUnsafeBytes { [UInt8]($0) }
        self.name = name
        datastore.openImages()
        while !datastore.report().images.contains(where: { $0.scan != nil && !$0.isBusy }) {
            try await Task.sleep(for: .milliseconds(20))
        }
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let program = NFSProgram(
            datastore: datastore, bulkPool: IOPool(name: "bulk", threadCount: 1),
            metadataPool: IOPool(name: "metadata", threadCount: 1))
        let server = RPCServer(programs: [program], group: group, logger: logger)
        caller = try LoopbackCaller(port: try await server.bind(host: "127.0.0.1", port: 0))
    }

    func stop() {
        try? group.syncShutdownGracefully()
        datastore.close()
    }

    /// Calls of the server as a hypervisor makes them; `data` is where the image has blocks of data.
    func paths(data: [Int]) -> [HotPath] {
        let blocks = Array(data.prefix(Self.blocks))
        let read = LoopbackCall(procedure: 6, file: file, offset: 0, count: UInt32(KnownImage.blockSize))
        let write = LoopbackCall(
            procedure: 7, file: file, offset: 0, count: UInt32(KnownImage.blockSize),
            payload: [UInt8](repeating: 0xA5, count: KnownImage.blockSize))
        return [
            path(.cachedRead, read, at: blocks),
            path(.dataWrite, write, at: blocks),
            path(.attributes, LoopbackCall(procedure: 1, file: file), at: []),
            path(.lookup, LoopbackCall(procedure: 3, file: directory, name: name), at: []),
        ]
    }

    private func path(_ kind: HotPath.Kind, _ call: LoopbackCall, at offsets: [Int]) -> HotPath {
        HotPath(kind) { [caller] count in
            for index in 0..<count {
                if !offsets.isEmpty { call.setOffset(offsets[index % offsets.count]) }
                try caller.make(call)
            }
        }
    }
}
