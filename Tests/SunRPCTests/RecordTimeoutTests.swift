import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import SunRPC

/// The time that a record may take, on a clock that only the test moves.
@Suite struct RecordTimeoutTests {
    private typealias Procedure = EchoProgram.Procedure

    private let null = record(call(xid: 1, procedure: EchoProgram.Procedure.null))

    /// A connection that carries out one call at a time and gives a record ten seconds.
    private struct Connection {
        let program = EchoProgram()
        let log = LogRecorder()
        let channel = EmbeddedChannel()

        init() throws {
            var limits = RPCLimits()
            limits.recordTimeout = .seconds(10)
            limits.maximumCallsInFlight = 1
            let log = log
            let connection = RPCConnection(
                eventLoop: channel.eventLoop, programs: ProgramTable([program]), limits: limits,
                registry: ConnectionRegistry(limits: limits) { _ in true },
                budget: MemoryBudget(total: limits.maximumMemory, share: limits.maximumMemoryPerClient),
                logger: Logger(label: "test") { _ in log.handler })
            try channel.pipeline.syncOperations.addHandler(connection)
            try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 1023)).wait()
        }

        var isOpen: Bool { channel.isActive }

        func receive(_ bytes: some Sequence<UInt8>) throws {
            try channel.writeInbound(ByteBuffer(bytes: bytes))
        }

        func wait(_ time: TimeAmount) {
            channel.embeddedEventLoop.advanceTime(by: time)
        }
    }

    @Test(arguments: [1, 4, 5, 43]) func halfARecordIsGivenUpOnTime(count: Int) throws {
        let connection = try Connection()
        connection.wait(.hours(1))
        try connection.receive(null.prefix(count))
        connection.wait(.milliseconds(9999))
        #expect(connection.isOpen)
        connection.wait(.milliseconds(1))
        #expect(!connection.isOpen)
        #expect(connection.log.contains("warning connection closed: half an RPC record"))
    }

    @Test func dripFeedingDoesNotExtendTheTime() throws {
        let connection = try Connection()
        for byte in null.prefix(10) {
            try connection.receive([byte])
            connection.wait(.milliseconds(999))
        }
        #expect(connection.isOpen)
        connection.wait(.milliseconds(10))
        #expect(!connection.isOpen)
    }

    @Test func aConnectionWithoutARecordUnderWayIsNeverLate() throws {
        let connection = try Connection()
        try connection.receive(null)
        connection.wait(.hours(100))
        #expect(connection.isOpen)
    }

    @Test func eachRecordHasItsOwnTime() throws {
        let connection = try Connection()
        for _ in 0..<20 {
            try connection.receive(null.prefix(11))
            connection.wait(.seconds(6))
            try connection.receive(null.dropFirst(11))
            #expect(try connection.channel.readOutbound(as: ByteBuffer.self)?.readableBytes == 28)
        }
        // The same, with the start of the next record in the segment that ends one.
        for _ in 0..<20 {
            try connection.receive(null.prefix(11))
            connection.wait(.seconds(6))
            try connection.receive(null.dropFirst(11) + null.prefix(3))
            connection.wait(.seconds(6))
            try connection.receive(null.dropFirst(3))
        }
        #expect(connection.isOpen)
    }

    /// The server does not blame a client for bytes that the server itself does not read.
    @Test func aPausedConnectionIsNotLate() throws {
        let connection = try Connection()
        try connection.receive(record(call(xid: 1, procedure: Procedure.hold)) + null.prefix(20))
        connection.wait(.minutes(10))
        #expect(connection.isOpen)
        // From the moment that it reads again, the time counts.
        for held in connection.program.takeHeld() {
            held.release()
        }
        connection.wait(.milliseconds(9999))
        #expect(connection.isOpen)
        connection.wait(.milliseconds(1))
        #expect(!connection.isOpen)
    }
}
