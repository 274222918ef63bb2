import NIOCore
import Testing

@testable import SunRPC

/// What a client can do to a server, and that the server goes on for the others.
@Suite struct HostileClientTests {
    private typealias Procedure = EchoProgram.Procedure

    static let streams: [(bytes: [UInt8], logged: String)] = [
        (words(0xFFFF_FFFF), "RPC record of 2147483647 bytes or more, at most 1114112 accepted"),
        (Array("GET / HTTP/1.1\r\n\r\n".utf8), "RPC record of"),
        (Array(repeating: [0, 0, 0, 0], count: 3000).flatMap { $0 }, "RPC record of more than 2048 fragments"),
        (record([]), "malformed RPC call header: at byte 0"),
        (record(words(1, 0, 2, 3)), "malformed RPC call header: at byte 16"),
        (record(words(1, 1, 0, 0, 0, 0)), "RPC message type 1, expected 0 (CALL)"),
        (
            record(call(xid: 1, procedure: 0, credential: words(1, 0xFFFF_FFFF))),
            "malformed RPC call header: at byte 28"
        ),
    ]

    @Test(arguments: streams.indices) func garbageClosesItsOwnConnectionOnly(index: Int) async throws {
        let (bytes, logged) = Self.streams[index]
        try await withLoopback { loopback in
            let neighbour = try await loopback.connect()
            let client = try await loopback.connect()
            // What was asked for properly before is still answered.
            try await client.send(record(call(xid: 1, procedure: Procedure.null)) + bytes)
            #expect(try await client.reply() == success(xid: 1))
            #expect(try await client.reply() == nil)
            #expect(loopback.log.contains("warning connection closed: \(logged)"), "expected: \(logged)")
            try await neighbour.send(record(call(xid: 2, procedure: Procedure.null)))
            #expect(try await neighbour.reply() == success(xid: 2))
        }
    }

    @Test func halfARecordIsGivenUpInTime() async throws {
        var limits = RPCLimits()
        limits.recordTimeout = .milliseconds(200)
        try await withLoopback(limits: limits) { loopback in
            let idle = try await loopback.connect()
            let client = try await loopback.connect()
            try await client.send(Array(record(call(xid: 1, procedure: Procedure.null)).dropLast()))
            #expect(try await client.reply() == nil)
            #expect(loopback.log.contains("half an RPC record"))
            // A connection without a record under way stays as long as it likes.
            try await idle.send(record(call(xid: 2, procedure: Procedure.null)))
            #expect(try await idle.reply() == success(xid: 2))
        }
    }

    @Test func aClientThatLeavesWithCallsUnderWay() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            try await client.send(record(call(xid: 1, procedure: Procedure.hold)))
            try await eventually("the call") { loopback.program.heldCount == 1 }
            try await client.close()
            try await Task.sleep(for: .milliseconds(20))
            for held in loopback.program.takeHeld() {
                held.release()
            }
            let next = try await loopback.connect()
            try await next.send(record(call(xid: 2, procedure: Procedure.null)))
            #expect(try await next.reply() == success(xid: 2))
        }
    }

    @Test func aClientThatEndsItsSideStillGetsItsAnswers() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            try await client.send(
                record(call(xid: 1, procedure: Procedure.hold)) + record(call(xid: 2, procedure: Procedure.null)))
            try await client.endSending()
            #expect(try await client.reply() == success(xid: 2))
            for held in loopback.program.takeHeld() {
                held.release()
            }
            #expect(try await client.reply() == success(xid: 1))
            #expect(try await client.reply() == nil)
        }
    }

    @Test func anAddressThatIsNotAllowedIsNotServed() async throws {
        try await withLoopback(isAllowed: { $0.ipAddress != "127.0.0.1" }) { loopback in
            let client = try await loopback.connect()
            try? await client.send(record(call(xid: 1, procedure: Procedure.null)))
            #expect(try await client.reply() == nil)
            #expect(loopback.program.handledCount == 0)
            #expect(loopback.log.contains("connection refused: this address is not allowed"))
        }
    }

    @Test func whatHasNoAnswerClosesTheConnection() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            try await client.send(
                record(call(xid: 1, procedure: Procedure.hold)) + record(call(xid: 2, procedure: Procedure.noAnswer)))
            #expect(try await client.reply() == nil)
            #expect(loopback.log.contains("connection closed: there is no answer"))
            for held in loopback.program.takeHeld() { held.release() }
            try await eventually("no memory in use") { loopback.server.takeMemoryFigures().used == 0 }
            let next = try await loopback.connect()
            try await next.send(record(call(xid: 3, procedure: Procedure.null)))
            #expect(try await next.reply() == success(xid: 3))
        }
    }
}
