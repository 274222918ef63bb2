import NIOCore
import Testing

@testable import SunRPC

@Suite struct ShutdownTests {
    private typealias Procedure = EchoProgram.Procedure

    @Test func callsUnderWayAreAnsweredFirst() async throws {
        let loopback = try await Loopback()
        let client = try await loopback.connect()
        let idle = try await loopback.connect()
        try await client.send((1...3).flatMap { record(call(xid: $0, procedure: Procedure.hold)) })
        try await eventually("the calls") { loopback.program.heldCount == 3 }

        async let end: Void = loopback.server.shutDown(timeout: .seconds(10))
        // The idle connection is closed, so the server is on its way down: it takes no calls and no connections.
        #expect(try await idle.reply() == nil)
        try await client.send(record(call(xid: 4, procedure: Procedure.null)))
        await #expect(throws: (any Error).self) { try await loopback.connect() }

        for held in loopback.program.takeHeld() {
            held.release()
        }
        for xid: UInt32 in 1...3 {
            #expect(try await client.reply() == success(xid: xid))
        }
        #expect(try await client.reply() == nil)
        await end
        #expect(loopback.program.handledCount == 3)
        #expect(!loopback.log.contains("by force"))
    }

    @Test func largeRepliesAreSentBeforeTheEnd() async throws {
        let loopback = try await Loopback()
        let client = try await TestClient(port: loopback.port, autoRead: false)
        let calls = (1...16).flatMap {
            record(call(xid: $0, procedure: Procedure.blob, arguments: words(1 << 18)))
        }
        try await client.send(calls)
        try await eventually("the calls") { loopback.program.handledCount == 16 }
        async let end: Void = loopback.server.shutDown(timeout: .seconds(10))
        try await client.startReading()
        for xid: UInt32 in 1...16 {
            #expect(try await client.repliedXID() == xid)
        }
        #expect(try await client.reply() == nil)
        await end
    }

    @Test func aCallThatIsNeverAnsweredDoesNotHoldTheServerForEver() async throws {
        let loopback = try await Loopback()
        let client = try await loopback.connect()
        try await client.send(record(call(xid: 1, procedure: Procedure.hold)))
        try await eventually("the call") { loopback.program.heldCount == 1 }
        await loopback.server.shutDown(timeout: .milliseconds(100))
        #expect(try await client.reply() == nil)
        #expect(loopback.log.contains("warning connection closed by force, 1 calls in flight"))
        // The answer comes all the same, and nobody minds.
        for held in loopback.program.takeHeld() {
            held.release()
        }
    }

    @Test func aClientThatDoesNotListenDoesNotHoldTheServerForEver() async throws {
        let loopback = try await Loopback()
        let client = try await TestClient(port: loopback.port, autoRead: false)
        try await client.send(
            (1...200).flatMap { record(call(xid: $0, procedure: Procedure.blob, arguments: words(1 << 20))) })
        try await eventually("some calls") { loopback.program.handledCount > 4 }
        await loopback.server.shutDown(timeout: .milliseconds(100))
        #expect(loopback.log.contains("by force"))
        // What the server had not read may have had the connection reset.
        try? await client.close()
    }
}
