import NIOCore
import Testing

@testable import SunRPC

@Suite struct BackPressureTests {
    private typealias Procedure = EchoProgram.Procedure

    @Test func callsInFlightAreBounded() async throws {
        var limits = RPCLimits()
        limits.maximumCallsInFlight = 4
        try await withLoopback(limits: limits) { loopback in
            let client = try await loopback.connect()
            try await client.send((1...10).flatMap { record(call(xid: $0, procedure: Procedure.hold)) })
            var seen: [UInt32] = []
            for expected in [4, 4, 2] {
                try await eventually("\(expected) calls") { loopback.program.heldCount == expected }
                try await Task.sleep(for: .milliseconds(20))
                let held = loopback.program.takeHeld()
                #expect(held.count == expected)
                seen += held.map(\.call.xid)
                for held in held {
                    held.release()
                }
            }
            #expect(seen == Array(1...10))
            for _ in 1...10 {
                #expect(try await client.reply() != nil)
            }
        }
    }

    @Test func bytesInFlightAreBounded() async throws {
        var limits = RPCLimits()
        // A call of 100,024 bytes is counted as 131,072, and the reply as 512.
        limits.maximumBytesInFlight = 200_000
        try await withLoopback(limits: limits) { loopback in
            let client = try await loopback.connect()
            let payload = [UInt8](repeating: 1, count: 100_000)
            let calls = (1...6).flatMap { record(call(xid: $0, procedure: Procedure.hold, arguments: payload)) }
            async let sent: Void = client.send(calls)
            for _ in 1...3 {
                try await eventually("two calls") { loopback.program.heldCount == 2 }
                try await Task.sleep(for: .milliseconds(20))
                let held = loopback.program.takeHeld()
                #expect(held.count == 2)
                for held in held {
                    held.release()
                }
            }
            try await sent
            for _ in 1...6 {
                #expect(try await client.reply()?.count == 100_024)
            }
        }
    }

    /// A client that asks and does not listen is not read from; when it listens, it gets every answer.
    @Test func unsentRepliesAreBounded() async throws {
        var limits = RPCLimits()
        limits.maximumUnsentBytes = 1 << 20
        limits.resumeUnsentBytes = 1 << 19
        try await withLoopback(limits: limits) { loopback in
            let client = try await TestClient(port: loopback.port, autoRead: false)
            let count: UInt32 = 400
            try await client.send(
                (1...count).flatMap { record(call(xid: $0, procedure: Procedure.blob, arguments: words(1 << 18))) })
            try await eventually("the first calls") { loopback.program.handledCount > 4 }
            try await Task.sleep(for: .milliseconds(200))
            // 400 replies are 100 MiB; the socket buffers of both ends take a few MiB.
            #expect(loopback.program.handledCount < 200)

            try await client.startReading()
            for xid in 1...count {
                #expect(try await client.repliedXID() == xid)
            }
        }
    }
}
