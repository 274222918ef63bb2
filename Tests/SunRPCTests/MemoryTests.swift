import NIOCore
import Testing

@testable import SunRPC

/// What calls and replies may take of memory, and who gets it.
@Suite struct MemoryTests {
    private typealias Procedure = EchoProgram.Procedure
    /// With the header a buffer of 1 MiB.
    private static let blob: UInt32 = 1 << 20 - 28

    private static func limits(_ mebibytes: Int, perClient: Int) -> RPCLimits {
        var limits = RPCLimits()
        limits.maximumMemory = mebibytes << 20
        limits.maximumMemoryPerClient = perClient << 20
        return limits
    }

    private static func calls(_ xids: ClosedRange<UInt32>) -> [UInt8] {
        xids.flatMap { record(call(xid: $0, procedure: Procedure.holdBlob, arguments: words(blob))) }
    }

    @Test func repliesCountBeforeTheyAreMadeAndNoneIsDropped() async throws {
        try await withLoopback(limits: Self.limits(4, perClient: 4)) { loopback in
            let clients = [try await loopback.connect(), try await loopback.connect(), try await loopback.connect()]
            for client in clients { try await client.send(Self.calls(1...10)) }
            var answered = 0
            while answered < 30 {
                // How many are let in at a time depends on what each connection keeps for its next call.
                try await eventually("more calls than \(answered)") { loopback.program.heldCount >= 1 }
                try await Task.sleep(for: .milliseconds(10))
                let held = loopback.program.takeHeld()
                // Each connection has a little without asking.
                #expect(held.count <= 4)
                #expect(loopback.server.takeMemoryFigures().mostUsed <= 4 << 20)
                for held in held { held.release() }
                answered += held.count
            }
            for client in clients {
                for xid in UInt32(1)...10 { #expect(try await client.repliedXID() == xid) }
            }
            try await eventually("no memory in use") { loopback.server.takeMemoryFigures().used == 0 }
        }
    }

    @Test func recordsBeingReceivedCount() async throws {
        try await withLoopback(limits: Self.limits(4, perClient: 4)) { loopback in
            let whole = record(
                call(xid: 1, procedure: Procedure.hold, arguments: [UInt8](repeating: 7, count: 1 << 20 - 100)))
            var clients: [TestClient] = []
            for _ in 0..<12 { clients.append(try await loopback.connect()) }
            for client in clients { try await client.send(Array(whole.prefix(whole.count / 2))) }
            try await eventually("memory in use") { loopback.server.takeMemoryFigures().used >= 3 << 20 }
            try await Task.sleep(for: .milliseconds(50))
            #expect(loopback.server.takeMemoryFigures().mostUsed <= 4 << 20)
            let all = clients
            let rest = Task { for client in all { try await client.send(Array(whole.dropFirst(whole.count / 2))) } }
            try await eventually("every call") {
                for held in loopback.program.takeHeld() { held.release() }
                return loopback.program.handledCount == 12
            }
            for held in loopback.program.takeHeld() { held.release() }
            try await rest.value
            for client in clients { #expect(try await client.repliedXID() == 1) }
            #expect(loopback.server.takeMemoryFigures().mostUsed <= 4 << 20)
        }
    }

    @Test func othersAreServedWhileOneClientHoldsEverything() async throws {
        try await withLoopback(limits: Self.limits(4, perClient: 4)) { loopback in
            let greedy = try await loopback.connect()
            try await greedy.send(Self.calls(1...10))
            try await eventually("four calls") { loopback.program.heldCount == 4 }
            // Short calls need nothing of what is shared, not even of the greedy client itself on a new connection.
            let neighbour = try await loopback.connect()
            try await neighbour.send(record(call(xid: 1, procedure: Procedure.null)))
            #expect(try await neighbour.reply() == success(xid: 1))
            // Another address that has nothing gets what it asks for.
            let other = try await loopback.connect(from: "127.0.0.2")
            try await other.send(Self.calls(77...77))
            try await eventually("the other's call") { loopback.program.heldCount == 5 }
            for held in loopback.program.takeHeld() { held.release() }
            #expect(try await other.repliedXID() == 77)
        }
    }

    @Test func oneClientCannotHaveEverything() async throws {
        try await withLoopback(limits: Self.limits(8, perClient: 4)) { loopback in
            let greedy = try await loopback.connect()
            try await greedy.send(Self.calls(1...10))
            try await eventually("four calls") { loopback.program.heldCount == 4 }
            let other = try await loopback.connect(from: "127.0.0.2")
            try await other.send(Self.calls(11...20))
            try await eventually("four more") { loopback.program.heldCount == 8 }
            try await Task.sleep(for: .milliseconds(20))
            #expect(loopback.program.heldCount == 8)
            #expect(loopback.server.takeMemoryFigures().mostUsed == 8 << 20)
        }
    }

    @Test func whatAnEndedConnectionHeldIsFreeAgain() async throws {
        try await withLoopback(limits: Self.limits(4, perClient: 4)) { loopback in
            let leaving = try await loopback.connect()
            try await leaving.send(Self.calls(1...10))
            try await eventually("four calls") { loopback.program.heldCount == 4 }
            try await leaving.close()
            // Calls under way hold their memory until they are answered.
            #expect(loopback.server.takeMemoryFigures().used >= 3 << 20)
            try await eventually("the end, and no memory in use") {
                for held in loopback.program.takeHeld() { held.release() }
                return loopback.server.openConnections == 0 && loopback.server.takeMemoryFigures().used == 0
            }
            let next = try await loopback.connect()
            try await next.send(Self.calls(1...4))
            try await eventually("four calls") { loopback.program.heldCount == 4 }
        }
    }

    /// Many addresses that come at once and have nothing yet get no more than a reserve, and then in turn what becomes free.
    @Test func newcomersTogetherAreBounded() async throws {
        try await withLoopback(limits: Self.limits(4, perClient: 2)) { loopback in
            var clients: [TestClient] = []
            for number in 1...10 { clients.append(try await loopback.connect(from: "127.0.0.\(number)")) }
            for client in clients { try await client.send(Self.calls(1...1)) }
            try await eventually("calls up to the reserve") { loopback.program.heldCount == 6 }
            try await Task.sleep(for: .milliseconds(20))
            #expect(loopback.program.heldCount == 6)
            #expect(loopback.server.takeMemoryFigures().mostUsed == 6 << 20)
            try await eventually("every call") {
                for held in loopback.program.takeHeld() { held.release() }
                return loopback.program.handledCount == 10
            }
            for held in loopback.program.takeHeld() { held.release() }
            for client in clients { #expect(try await client.repliedXID() == 1) }
        }
    }

    /// No record holds room while it waits for more: all would wait for each other.
    @Test func recordsInFragmentsDoNotWaitForEachOther() async throws {
        try await withLoopback(limits: Self.limits(4, perClient: 4)) { loopback in
            let (first, second) = ([UInt8](repeating: 7, count: 448 << 10), [UInt8](repeating: 8, count: 512 << 10))
            let start = call(xid: 1, procedure: Procedure.hold, arguments: first)
            var clients: [TestClient] = []
            for _ in 0..<12 { clients.append(try await loopback.connect()) }
            for client in clients { try await client.send(words(UInt32(start.count)) + start) }
            try await eventually("memory in use") { loopback.server.takeMemoryFigures().used >= 3 << 20 }
            let all = clients
            let rest = Task { for client in all { try await client.send(record(second)) } }
            try await eventually("every call") {
                for held in loopback.program.takeHeld() { held.release() }
                return loopback.program.handledCount == 12
            }
            for held in loopback.program.takeHeld() { held.release() }
            try await rest.value
            for client in clients { #expect(try await client.reply()?.count == 24 + first.count + second.count) }
        }
    }

    @Test func longCallsThatAskForLongRepliesAreNone() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            let arguments = words(1 << 20) + [UInt8](repeating: 0, count: 8 << 10)
            try await client.send(record(call(xid: 5, procedure: Procedure.holdBlob, arguments: arguments)))
            // GARBAGE_ARGS
            #expect(try await client.reply() == words(5, 1, 0, 0, 0, 4))
        }
    }

    @Test func aClientThatReadsNothingIsGivenUpInTime() async throws {
        var limits = RPCLimits()
        limits.sendTimeout = .milliseconds(300)
        try await withLoopback(limits: limits) { loopback in
            let idle = try await loopback.connect()
            let client = try await TestClient(port: loopback.port, autoRead: false)
            try await client.send(
                (1...40).flatMap { record(call(xid: $0, procedure: Procedure.blob, arguments: words(1 << 20))) })
            try await eventually("the end") { loopback.log.contains("the client has read no reply for") }
            try await eventually("no memory in use") { loopback.server.takeMemoryFigures().used == 0 }
            try await idle.send(record(call(xid: 2, procedure: Procedure.null)))
            #expect(try await idle.reply() == success(xid: 2))
        }
    }
}
