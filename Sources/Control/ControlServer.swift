import BlockStorage
public import Datastore
import Foundation
import Glibc
public import Logging
public import NIOCore
import NIOPosix
import SunRPC
import Synchronization

/// Answers administrators on a local socket that only the server's own user can open.
///
/// One request a connection: a line of JSON, answered by a line of JSON. A line has a limit of length and of time, and
/// only so many connections are open at once, so that nothing that is sent there can cost the server much.
public final class ControlServer: Sendable {
    /// A socket that cannot be made.
    public struct StartError: Error, CustomStringConvertible {
        /// What is wrong, with the path.
        public let description: String
    }

    /// The socket's name in the state directory.
    public static let socketName = "control"
    private static let threadCount = 2
    private static let backlog: Int32 = 16

    private let path: String
    private let commands: ControlCommands
    private let group: any EventLoopGroup
    private let logger: Logger
    private let pool = IOPool(name: "control", threadCount: ControlServer.threadCount)
    private let longPool = IOPool(name: "control-orders", threadCount: ControlServer.threadCount)
    private let connections = ConnectionCount()
    private let listener = Locked<(any Channel)?>(nil)

    /// A server for `datastore`, on the event loops of `group`; it does not listen yet.
    public init(datastore: Datastore, path: String, group: any EventLoopGroup, logger: Logger) {
        self.path = path
        self.group = group
        self.logger = logger
        commands = ControlCommands(datastore)
    }

    /// Listens. A socket that a server left behind that is gone is replaced.
    public func start() async throws {
        let socket = try listeningSocket()
        let (commands, pool, longPool, connections, logger) = (commands, pool, longPool, connections, logger)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptPause(logger: logger))
                }
            }
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                guard connections.enter(channel) else { return channel.close() }
                return channel.eventLoop.makeCompletedFuture {
                    let handler = ControlHandler { line, answer in
                        pool.submit {
                            guard commands.takesLong(line) else { return answer(commands.reply(to: line)) }
                            longPool.submit { answer(commands.reply(to: line)) }
                        }
                    }
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
        do {
            let channel = try await bootstrap.withBoundSocket(socket).get()
            listener.withLock { $0 = channel }
        } catch {
            throw StartError(description: "\(path): \(error)")
        }
    }

    /// Takes no more connections, and tells the requests that take long to end soon. Those that have come are carried out
    /// until ``finish()``.
    public func stop() async {
        commands.datastore.endAdministration()
        guard let channel = listener.withLock({ $0 }) else { return }
        try? await channel.close()
        unlink(path)
    }

    /// Waits for the requests that are under way; none is carried out after that. Called before the datastore is closed:
    /// then its registers and the redirect log may be another server's. Blocks.
    public func finish() {
        // The first hands on to the second.
        pool.shutDown()
        longPool.shutDown()
    }

    /// A socket at `path` with mode 0600 from its first moment, in a directory where nobody else can replace it.
    private func listeningSocket() throws(StartError) -> Int32 {
        try checkDirectory()
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure() }
        // Linux gives the socket's file the mode of the descriptor.
        fchmod(descriptor, 0o600)
        guard var address = LocalAddress(path) else {
            close(descriptor)
            throw StartError(description: "\(path): too long for the path of a socket")
        }
        var status = address.withPointer { bind(descriptor, $0, $1) }
        if status != 0, errno == EADDRINUSE, try isLeftBehind(&address) {
            unlink(path)
            status = address.withPointer { bind(descriptor, $0, $1) }
        }
        guard status == 0, listen(descriptor, Self.backlog) == 0 else {
            defer { close(descriptor) }
            throw failure()
        }
        return descriptor
    }

    private func checkDirectory() throws(StartError) {
        let end = path.lastIndex(of: "/")
        let directory = end.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        var status = stat()
        guard stat(directory, &status) == 0 else {
            throw StartError(description: "\(directory): \(String(cString: strerror(errno)))")
        }
        let isOwn = status.st_uid == geteuid() || status.st_uid == 0
        let isOpen = status.st_mode & (S_IWGRP | S_IWOTH) != 0 && status.st_mode & S_ISVTX == 0
        guard isOwn, !isOpen else {
            throw StartError(
                description: "\(path): other users can replace files in \(directory); expected a directory of this "
                    + "user's or root's that only they may write to")
        }
    }

    /// Whether a socket stands at `path` that nobody listens on; throws when something else does.
    private func isLeftBehind(_ address: inout LocalAddress) throws(StartError) -> Bool {
        var status = stat()
        guard lstat(path, &status) == 0 else { return errno == ENOENT }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw StartError(description: "\(path): is no socket") }
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure() }
        defer { close(descriptor) }
        guard address.withPointer({ connect(descriptor, $0, $1) }) != 0, errno == ECONNREFUSED else {
            throw StartError(description: "\(path): another server listens there")
        }
        return true
    }

    private func failure() -> StartError {
        StartError(description: "\(path): \(String(cString: strerror(errno)))")
    }
}

/// The connections that are open.
private final class ConnectionCount: Sendable {
    private static let limit = 32
    private let count = Atomic(0)

    /// Counts a connection until it is closed; false when there are too many.
    func enter(_ channel: any Channel) -> Bool {
        channel.closeFuture.whenComplete { _ in self.count.subtract(1, ordering: .relaxed) }
        return count.add(1, ordering: .relaxed).newValue <= Self.limit
    }
}
