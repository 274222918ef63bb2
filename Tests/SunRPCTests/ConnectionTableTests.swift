import NIOCore
import Testing

@testable import SunRPC

/// Who may connect when many want to, and for how long.
@Suite struct ConnectionTableTests {
    private typealias Procedure = EchoProgram.Procedure

    private static func limits(_ all: Int, perClient: Int) -> RPCLimits {
        var limits = RPCLimits()
        limits.maximumConnections = all
        limits.maximumConnectionsPerClient = perClient
        return limits
    }

    private func expectService(_ client: TestClient, _ xid: UInt32) async throws {
        try await client.send(record(call(xid: xid, procedure: Procedure.null)))
        #expect(try await client.reply() == success(xid: xid))
    }

    @Test func anAddressWithAllThatItMayHaveLosesItsLongestIdle() async throws {
        try await withLoopback(limits: Self.limits(10, perClient: 3)) { loopback in
            var clients: [TestClient] = []
            for xid in UInt32(1)...3 {
                clients.append(try await loopback.connect())
                try await expectService(clients[Int(xid) - 1], xid)
            }
            // The first is not idle any more.
            try await expectService(clients[0], 4)
            let next = try await loopback.connect()
            try await expectService(next, 5)
            #expect(try await clients[1].reply() == nil)
            try await expectService(clients[0], 6)
            try await expectService(clients[2], 7)
        }
    }

    @Test func aFullTableMakesRoomAtTheCostOfWhoHasMost() async throws {
        try await withLoopback(limits: Self.limits(6, perClient: 5)) { loopback in
            var crowd: [TestClient] = []
            for xid in UInt32(1)...5 {
                crowd.append(try await loopback.connect(from: "127.0.0.2"))
                try await expectService(crowd[Int(xid) - 1], xid)
            }
            let single = try await loopback.connect(from: "127.0.0.3")
            try await expectService(single, 1)
            let newcomer = try await loopback.connect()
            try await expectService(newcomer, 1)
            #expect(try await crowd[0].reply() == nil)
            try await expectService(single, 2)
            for client in crowd.dropFirst() { try await expectService(client, 9) }
            #expect(loopback.log.contains("idle connection closed: others need its place"))
        }
    }

    @Test func connectionsInUseAreNotClosedForWhoHasOne() async throws {
        try await withLoopback(limits: Self.limits(3, perClient: 2)) { loopback in
            let other = try await loopback.connect(from: "127.0.0.2")
            let clients = [other, try await loopback.connect(), try await loopback.connect()]
            for client in clients { try await client.send(record(call(xid: 1, procedure: Procedure.hold))) }
            try await eventually("the calls") { loopback.program.heldCount == 3 }
            for (address, reason) in [
                ("127.0.0.1", "this address has 2 connections already, all in use"),
                ("127.0.0.2", "there are 3 connections already, all in use"),
            ] {
                let refused = try await loopback.connect(from: address)
                #expect(try await refused.reply() == nil)
                #expect(loopback.log.contains("connection refused: \(reason)"))
            }
            for held in loopback.program.takeHeld() { held.release() }
            for client in clients { #expect(try await client.reply() == success(xid: 1)) }
            try await expectService(try await loopback.connect(from: "127.0.0.2"), 3)
        }
    }

    /// No client has so many connections in use that another gets none; where each has one, nobody loses his.
    @Test func whoHasNoConnectionGetsOneOfThoseInUse() async throws {
        try await withLoopback(limits: Self.limits(2, perClient: 2)) { loopback in
            for _ in 1...2 {
                try await loopback.connect().send(record(call(xid: 1, procedure: Procedure.hold)))
            }
            try await eventually("the calls") { loopback.program.heldCount == 2 }
            let newcomer = try await loopback.connect(from: "127.0.0.2")
            try await newcomer.send(record(call(xid: 2, procedure: Procedure.hold)))
            try await eventually("the newcomer's call") { loopback.program.heldCount == 3 }
            #expect(loopback.log.contains("connection with 1 calls in flight closed: others need its place"))
            let late = try await loopback.connect(from: "127.0.0.3")
            #expect(try await late.reply() == nil)
            for held in loopback.program.takeHeld() { held.release() }
            #expect(try await newcomer.reply() == success(xid: 2))
        }
    }

    /// Nobody has more connections than he may have by leaving replies unread.
    @Test func whoMakesRoomIsNotWaitedFor() async throws {
        try await withLoopback(limits: Self.limits(10, perClient: 1)) { loopback in
            let client = try await TestClient(port: loopback.port, autoRead: false)
            try await client.send(
                (1...40).flatMap { record(call(xid: $0, procedure: Procedure.blob, arguments: words(1 << 20))) })
            try await eventually("unread replies") { loopback.program.handledCount >= 8 }
            try await Task.sleep(for: .milliseconds(100))
            try await expectService(try await loopback.connect(), 1)
            try await eventually("the end") { loopback.log.contains("connection closed, 0 calls in flight") }
        }
    }

    @Test func placesAreUsedAgain() async throws {
        try await withLoopback(limits: Self.limits(1, perClient: 1)) { loopback in
            for xid in UInt32(1)...5 {
                let client = try await loopback.connect(from: "127.0.0.\(xid)")
                try await client.send(record(call(xid: xid, procedure: Procedure.hold)))
                try await eventually("the call") { loopback.program.heldCount == 1 }
                let held = loopback.program.takeHeld()
                #expect(held.map(\.call.sender) == [RPCSender(client: 1, connection: 1)])
                for held in held { held.release() }
                #expect(try await client.reply() == success(xid: xid))
                try await client.close()
                try await eventually("the end") { loopback.server.openConnections == 0 }
            }
        }
    }

    @Test func idleConnectionsAreClosedInTimeAndThoseWithCallsAreNot() async throws {
        var limits = RPCLimits()
        limits.idleTimeout = .seconds(1)
        try await withLoopback(limits: limits) { loopback in
            let busy = try await loopback.connect()
            try await busy.send(record(call(xid: 1, procedure: Procedure.hold)))
            try await eventually("the call") { loopback.program.heldCount == 1 }
            let idle = try await loopback.connect()
            #expect(try await idle.reply() == nil)
            #expect(loopback.log.contains("connection closed: no call for"))
            for held in loopback.program.takeHeld() { held.release() }
            #expect(try await busy.reply() == success(xid: 1))
            #expect(try await busy.reply() == nil)
        }
    }

    @Test func aCredentialThatIsTooLongCostsOnlyItsCall() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            let long = words(1, 404) + [UInt8](repeating: 0, count: 404)
            try await client.send(record(call(xid: 1, procedure: Procedure.null, credential: long)))
            // MSG_DENIED, AUTH_ERROR, AUTH_BADCRED
            #expect(try await client.reply() == words(1, 1, 1, 1, 1))
            try await expectService(client, 2)
        }
    }
}
