import BlockStorage
public import Logging
public import NIOCore
import NIOPosix

/// Serves RPC programs over TCP: listeners, their connections, and an orderly end.
public final class RPCServer: Sendable {
    private let programs: [any RPCProgram]
    private let limits: RPCLimits
    private let group: any EventLoopGroup
    private let logger: Logger
    private let registry: ConnectionRegistry
    private let budget: MemoryBudget
    private let listeners = Locked<[any Channel]>([])

    /// A server of `programs` that does not listen yet.
    ///
    /// - Parameters:
    ///   - programs: What ``bind(host:port:programs:)`` serves unless it is told otherwise.
    ///   - limits: What clients are granted; connections are counted over all listeners.
    ///   - group: Where connections live.
    ///   - logger: Where connections and their ends are logged.
    ///   - isAllowed: Who may connect; asked once a connection, on an event loop.
    public init(
        programs: [any RPCProgram], limits: RPCLimits = RPCLimits(), group: any EventLoopGroup, logger: Logger,
        isAllowed: @escaping @Sendable (SocketAddress) -> Bool = { _ in true }
    ) {
        self.programs = programs
        self.limits = limits
        self.group = group
        self.logger = logger
        registry = ConnectionRegistry(limits: limits, isAllowed: isAllowed)
        budget = MemoryBudget(total: limits.maximumMemory, share: limits.maximumMemoryPerClient)
    }

    /// The bytes that calls and replies of all connections are counted as now, and the most at a time since this was
    /// last asked.
    public func takeMemoryFigures() -> (used: Int, mostUsed: Int) { budget.takeFigures() }

    /// How many connections are open now.
    var openConnections: Int { registry.count }

    /// Listens on a TCP port, and serves `programs` (all of the server's when nil) there.
    ///
    /// - Parameters:
    ///   - host: An address or a name of this host.
    ///   - port: The port; 0 for any that is free.
    ///   - programs: What is served on this port.
    /// - Returns: The port.
    /// - Throws: NIO's `IOError` when the port is taken or not permitted, and its resolver's error for an unknown name.
    public func bind(host: String, port: Int, programs: [any RPCProgram]? = nil) async throws -> Int {
        let table = ProgramTable(programs ?? self.programs)
        let limits = limits
        let registry = registry
        let budget = budget
        let logger = logger
        let waterMark = ChannelOptions.Types.WriteBufferWaterMark(
            low: limits.resumeUnsentBytes, high: limits.maximumUnsentBytes)
        let listener = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptPause(logger: logger))
                }
            }
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelOption(.writeBufferWaterMark, value: waterMark)
            // A connection has one buffer at a time, and others their turn after each.
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let buffers = ReceiveBuffers()
                    try channel.syncOptions?.setOption(.recvAllocator, value: buffers)
                    try channel.pipeline.syncOperations.addHandler(
                        RPCConnection(
                            eventLoop: channel.eventLoop, programs: table, limits: limits, registry: registry,
                            budget: budget, buffers: buffers, logger: logger))
                }
            }
            .bind(host: host, port: port).get()
        listeners.withLock { $0.append(listener) }
        return listener.localAddress?.port ?? port
    }

    /// Stops in order: accepts and reads nothing more, waits until the calls in flight are answered and the answers
    /// are sent, and closes. What is not done after `timeout` is cut off.
    public func shutDown(timeout: TimeAmount = .seconds(30)) async {
        let listeners = self.listeners.withLock { listeners in
            defer { listeners = [] }
            return listeners
        }
        for listener in listeners {
            try? await listener.close()
        }
        let entries = registry.close()
        let cutOff = group.next().scheduleTask(in: timeout) {
            for entry in entries {
                entry.channel.eventLoop.execute { entry.connection.closeNow() }
            }
        }
        for entry in entries {
            entry.channel.eventLoop.execute { entry.connection.drain() }
        }
        for entry in entries {
            try? await entry.channel.closeFuture.get()
        }
        cutOff.cancel()
    }
}
