import Control
import Datastore
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TestTools
import Testing

/// The end of the service for administrators.
struct ControlServerTests {
    private static let line = "{\"command\":\"tier\"}\n"

    /// When the datastore is closed its registers and its log may be another server's.
    @Test func noRequestIsCarriedOutAfterTheEnd() async throws {
        let directory = try makeDirectoryOfThisProcess()
        let path = "\(directory)/\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: "\(path)/export", withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: path) }
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let datastore = try Datastore(
            configuration: .init(exports: [.init(path: "\(path)/export")], stateDirectory: "\(path)/state"),
            logger: logger)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let server = ControlServer(datastore: datastore, path: "\(path)/control", group: group, logger: logger)
        try await server.start()
        let late = try await Client("\(path)/control")
        // The other one was accepted before. Where tests wait long for a thread, the server may have closed it unheard.
        var reply = ""
        for _ in 0..<20 where reply.isEmpty {
            let early = try await Client("\(path)/control")
            try? await early.send(Self.line)
            reply = try await early.all()
        }
        #expect(reply.contains("\"state\":\"none\""))
        await server.stop()
        server.finish()
        datastore.close()
        // Of one that says nothing the server does not wait for ever.
        try? await late.send(Self.line)
        try await Task.sleep(for: .milliseconds(200))
        try await group.shutdownGracefully()
        #expect(try await late.all().isEmpty)
    }

    /// Collects what comes on a local socket.
    private final class Client: Sendable {
        private final class Collector: ChannelInboundHandler, Sendable {
            typealias InboundIn = ByteBuffer
            let bytes = Mutex(ByteBuffer())

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                bytes.withLock { _ = $0.writeImmutableBuffer(Self.unwrapInboundIn(data)) }
            }

            func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
        }

        private let channel: any Channel
        private let collector = Collector()

        init(_ path: String) async throws {
            let collector = collector
            channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .channelInitializer { $0.pipeline.addHandler(collector) }
                .connect(unixDomainSocketPath: path).get()
        }

        func send(_ text: String) async throws {
            try await channel.writeAndFlush(ByteBuffer(string: text))
        }

        /// What comes until the server closes.
        func all() async throws -> String {
            try await channel.closeFuture.get()
            return collector.bytes.withLock { String(buffer: $0) }
        }
    }
}
