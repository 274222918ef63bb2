import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import SunRPC

/// A server of one ``EchoProgram`` on a free port of the loopback interface.
struct Loopback: Sendable {
    let program = EchoProgram()
    let server: RPCServer
    let port: Int
    let log = LogRecorder()

    init(
        limits: RPCLimits = RPCLimits(), isAllowed: @escaping @Sendable (SocketAddress) -> Bool = { _ in true }
    ) async throws {
        let log = log
        server = RPCServer(
            programs: [program], limits: limits, group: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test") { _ in log.handler }, isAllowed: isAllowed)
        port = try await server.bind(host: "127.0.0.1", port: 0)
    }

    func connect(from address: String = "127.0.0.1") async throws -> TestClient {
        try await TestClient(port: port, from: address)
    }
}

/// Runs `body` with a server, and shuts it down in any case.
func withLoopback(
    limits: RPCLimits = RPCLimits(), isAllowed: @escaping @Sendable (SocketAddress) -> Bool = { _ in true },
    _ body: (Loopback) async throws -> Void
) async throws {
    let loopback = try await Loopback(limits: limits, isAllowed: isAllowed)
    do {
        try await body(loopback)
    } catch {
        await loopback.server.shutDown(timeout: .milliseconds(100))
        throw error
    }
    await loopback.server.shutDown(timeout: .milliseconds(100))
}

/// One TCP connection that sends any bytes, and takes replies apart with code of its own.
final class TestClient: Sendable {
    private let channel: any Channel
    private let received: Received

    /// - Parameter address: The client's own, one of loopback's.
    init(port: Int, autoRead: Bool = true, from address: String = "127.0.0.1") async throws {
        let received = Received()
        self.received = received
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(to: try SocketAddress(ipAddress: address, port: 0))
            .channelOption(.autoRead, value: autoRead)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Receiver(received))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
    }

    func send(_ bytes: [UInt8]) async throws {
        try await channel.writeAndFlush(ByteBuffer(bytes: bytes))
    }

    /// The next complete reply without its record mark; nil when the server closed the connection.
    func reply() async throws -> [UInt8]? {
        let received = received
        try await eventually("a reply") { received.hasReplyOrEnd }
        return received.takeReply()
    }

    /// The number of the call that the next reply answers.
    func repliedXID() async throws -> UInt32? {
        guard let reply = try await reply() else { return nil }
        var reader = XDRReader(reply.span.bytes)
        return try reader.uint32()
    }

    /// Lets the client read what it is sent.
    func startReading() async throws {
        try await channel.setOption(.autoRead, value: true).get()
    }

    /// Tells the server that nothing more will come.
    func endSending() async throws {
        try await channel.close(mode: .output)
    }

    func close() async throws {
        try await channel.close()
    }

    private final class Received: Sendable {
        private struct State {
            var bytes = ByteBuffer()
            var isEnded = false
        }
        private let state = Mutex(State())

        func append(_ bytes: ByteBuffer) {
            state.withLock { _ = $0.bytes.writeImmutableBuffer(bytes) }
        }

        func end() {
            state.withLock { $0.isEnded = true }
        }

        var hasReplyOrEnd: Bool {
            state.withLock { state in state.isEnded || Self.length(of: state.bytes) != nil }
        }

        func takeReply() -> [UInt8]? {
            state.withLock { state in
                guard let length = Self.length(of: state.bytes) else { return nil }
                state.bytes.moveReaderIndex(forwardBy: 4)
                defer { state.bytes.discardReadBytes() }
                return state.bytes.readBytes(length: length)
            }
        }

        private static func length(of bytes: ByteBuffer) -> Int? {
            guard let mark = bytes.getInteger(at: bytes.readerIndex, as: UInt32.self) else { return nil }
            let length = Int(mark & 0x7FFF_FFFF)
            return bytes.readableBytes >= 4 + length ? length : nil
        }
    }

    private final class Receiver: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let received: Received

        init(_ received: Received) {
            self.received = received
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received.append(unwrapInboundIn(data))
        }

        func channelInactive(context: ChannelHandlerContext) {
            received.end()
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            context.close(promise: nil)
        }
    }
}

/// What the server logged.
final class LogRecorder: Sendable {
    private let lines = Mutex<[String]>([])

    var handler: some LogHandler { Handler(recorder: self) }

    func contains(_ text: String) -> Bool {
        lines.withLock { $0.contains { $0.contains(text) } }
    }

    private struct Handler: LogHandler {
        let recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            recorder.lines.withLock { $0.append("\(event.level) \(event.message)") }
        }
    }
}

struct TimedOut: Error, CustomStringConvertible {
    let description: String
}

/// Waits until `condition` holds, for at most ten seconds.
func eventually(_ what: String, _ condition: @Sendable () -> Bool) async throws {
    let start = ContinuousClock.now
    while !condition() {
        guard start.duration(to: .now) < .seconds(10) else { throw TimedOut(description: "waited in vain for \(what)") }
        try await Task.sleep(for: .milliseconds(1))
    }
}
