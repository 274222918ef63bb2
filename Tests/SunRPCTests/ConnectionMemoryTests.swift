import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import SunRPC

/// What one connection counts, with a socket that takes nothing until it is told to.
@Suite struct ConnectionMemoryTests {
    private typealias Procedure = EchoProgram.Procedure

    /// A connection, and the two ends of its channel.
    private final class Stand {
        let program = EchoProgram()
        let budget: MemoryBudget
        let channel = EmbeddedChannel()
        let socket = UnreadSocket()
        let connection: RPCConnection

        init(_ budget: MemoryBudget = MemoryBudget(total: 1 << 20, share: 1 << 20)) throws {
            self.budget = budget
            let limits = RPCLimits()
            connection = RPCConnection(
                eventLoop: channel.eventLoop, programs: ProgramTable([program]), limits: limits,
                registry: ConnectionRegistry(limits: limits) { _ in true }, budget: budget,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            try channel.pipeline.syncOperations.addHandlers([socket, connection])
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 700)).wait()
        }

        var bytesInUse: Int { budget.takeFigures().used }

        /// Gives the connection `bytes`, if it asks for any.
        func receive(_ bytes: ByteBuffer) throws -> Bool {
            guard socket.isReadAskedFor else { return false }
            socket.isReadAskedFor = false
            try channel.writeInbound(bytes)
            return true
        }

        func end() throws {
            while !socket.unsent.isEmpty { socket.takeAll() }
            _ = try channel.finish(acceptAlreadyClosed: true)
            channel.embeddedEventLoop.run()
            #expect(bytesInUse == 0)
        }
    }

    private final class UnreadSocket: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        var isReadAskedFor = false
        var unsent: [EventLoopPromise<Void>?] = []

        func read(context _: ChannelHandlerContext) { isReadAskedFor = true }

        func write(context _: ChannelHandlerContext, data _: NIOAny, promise: EventLoopPromise<Void>?) {
            unsent.append(promise)
        }

        func takeAll() {
            let taken = unsent
            unsent = []
            for promise in taken { promise?.succeed() }
        }
    }

    /// What a connection waits for that has ended stands in nobody's way, though nothing is given back.
    @Test func whoHasEndedWaitsForNothing() {
        let loop = EmbeddedEventLoop()
        let budget = MemoryBudget(total: 4, share: 4)
        func connection() -> RPCConnection {
            RPCConnection(
                eventLoop: loop, programs: ProgramTable([]), limits: RPCLimits(),
                registry: ConnectionRegistry(limits: RPCLimits()) { _ in true }, budget: budget,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        }
        let (holder, ending, other) = (connection(), connection(), connection())
        #expect(budget.take(2, of: 0, for: holder))
        #expect(budget.take(1, of: 1, for: other))
        #expect(!budget.take(2, of: 0, for: ending))
        // There would be room for this, but for those who came first.
        #expect(!budget.take(1, of: 1, for: other))
        #expect(budget.takeFigures().used == 3)
        #expect(budget.stopWaiting(ending, of: 0))
        #expect(budget.takeFigures().used == 4)
        #expect(!budget.stopWaiting(ending, of: 0))
    }

    @Test func whatAConnectionWaitsForEndsWithIt() throws {
        let budget = MemoryBudget(total: 1 << 20, share: 1 << 20)
        let calls = ByteBuffer(bytes: (1...100).flatMap { record(words($0, 0, 3)) })
        let (holder, waiting) = (try Stand(budget), try Stand(budget))
        for stand in [holder, waiting] {
            for _ in 0..<1000 where try !stand.receive(calls) { break }
            #expect(!stand.socket.isReadAskedFor)
        }
        #expect(budget.takeFigures().used == 1 << 20)
        try waiting.channel.close().wait()
        // The first client of each.
        #expect(!budget.stopWaiting(waiting.connection, of: 1))
        waiting.socket.takeAll()
        _ = try waiting.channel.finish(acceptAlreadyClosed: true)
        try holder.end()
    }

    /// Replies to what goes to no program wait in memory like any others when their client does not read.
    @Test(arguments: [words(0, 3), words(0, 2, 1, 1, 0, 0, 0, 0, 0)]) func refusedCallsCount(rest: [UInt8]) throws {
        let stand = try Stand()
        let calls = ByteBuffer(bytes: (1...100).flatMap { record(words($0) + rest) })
        for _ in 0..<1000 where try !stand.receive(calls) { break }
        #expect(stand.bytesInUse == 1 << 20)
        // A little more than what 1 MiB is enough for, at 224 bytes each.
        #expect((4000...6000).contains(stand.socket.unsent.count))
        try stand.end()
    }

    /// A client that ends its side has all read that it sent, whether that was asked for or not.
    @Test func whatIsReceivedUnaskedIsBounded() throws {
        let stand = try Stand()
        let calls = ByteBuffer(bytes: (1...700).flatMap { record(words($0) + words(0, 2, 1, 1, 0, 0, 0, 0, 0)) })
        for _ in 0..<1000 where try !stand.receive(calls) { break }
        for _ in 0..<3 { try stand.channel.writeInbound(calls) }
        #expect(stand.channel.isActive)
        for _ in 0..<3 { try stand.channel.writeInbound(calls) }
        #expect(!stand.channel.isActive)
        try stand.end()
    }

    /// A short call may be all that is left of what was received with it.
    @Test func aCallCountsAsHalfOfTheBufferThatItHolds() throws {
        let stand = try Stand()
        for xid in UInt32(1)...20 {
            var buffer = ByteBufferAllocator().buffer(capacity: 64 << 10)
            buffer.writeBytes(record(call(xid: xid, procedure: Procedure.hold)))
            buffer.writeRepeatingByte(0, count: 64 << 10 - buffer.readableBytes)
            let start = buffer.readSlice(length: 44) ?? ByteBuffer()
            #expect(try stand.receive(start))
        }
        #expect(stand.program.heldCount == 20)
        // But for what each connection has without asking.
        #expect(stand.bytesInUse >= 20 * 32 << 10 - 64 << 10)
        for held in stand.program.takeHeld() { held.release() }
        try stand.end()
    }
}
