import NIOCore
import Testing

@testable import SunRPC

@Suite struct RPCServerTests {
    private typealias Procedure = EchoProgram.Procedure

    @Test func aCallIsAnswered() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            try await client.send(record(call(xid: 5, procedure: Procedure.echo, arguments: [1, 2, 3, 4])))
            #expect(try await client.reply() == success(xid: 5, [1, 2, 3, 4]))
        }
    }

    @Test func callsAreCarriedOutTogetherAndAnsweredInAnyOrder() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            let calls = (1...3).flatMap { record(call(xid: $0, procedure: Procedure.hold, arguments: words($0 * 7))) }
            try await client.send(calls + record(call(xid: 4, procedure: Procedure.null)))
            // The last call is answered while the first three are under way.
            #expect(try await client.reply() == success(xid: 4))
            let held = loopback.program.takeHeld()
            #expect(held.map(\.call.xid) == [1, 2, 3])
            for held in held.reversed() {
                held.release()
            }
            for xid: UInt32 in [3, 2, 1] {
                #expect(try await client.reply() == success(xid: xid, words(xid * 7)))
            }
        }
    }

    @Test func aBatchEndsWhenCallsAreLeftForLaterAndOnlyThen() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            for xid: UInt32 in 1...3 {
                try await client.send(record(call(xid: xid, procedure: Procedure.null)))
                #expect(try await client.reply() == success(xid: xid))
            }
            #expect(loopback.program.batchCount == 0)
            try await client.send(record(call(xid: 4, procedure: Procedure.hold)))
            try await eventually("the end of a batch") { loopback.program.batchCount == 1 }
            for held in loopback.program.takeHeld() { held.release() }
            #expect(try await client.reply() == success(xid: 4))
        }
    }

    @Test func manyPipelinedCallsAreAllAnswered() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            let count: UInt32 = 2000
            try await client.send(
                (1...count).flatMap { xid in
                    record(call(xid: xid, procedure: xid % 3 == 0 ? Procedure.echoElsewhere : Procedure.echo))
                })
            var answered: Set<UInt32> = []
            for _ in 1...count {
                answered.insert(try #require(try await client.repliedXID()))
            }
            #expect(answered.count == Int(count))
        }
    }

    @Test func aLargeCallArrivesWholeHoweverItIsSent() async throws {
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            let payload = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 >> 8 ^ $0) }
            let bytes = call(xid: 1, procedure: Procedure.echo, arguments: payload)
            try await client.send(record(bytes))
            #expect(try await client.reply() == success(xid: 1, payload))
            // Again, in fragments of all sizes.
            var rest = bytes[...]
            var size = 0
            while rest.count > size {
                try await client.send(words(UInt32(size)) + rest.prefix(size))
                rest = rest.dropFirst(size)
                size = size * 2 + 1
            }
            try await client.send(record(Array(rest)))
            #expect(try await client.reply() == success(xid: 1, payload))
        }
    }

    @Test func eachFailureIsAnsweredWhereItBelongs() async throws {
        let calls: [(call: [UInt8], reply: [UInt8])] = [
            (words(1, 0, 3), words(1, 1, 1, 0, 2, 2)),
            (call(xid: 2, program: 100_099, procedure: 0), words(2, 1, 0, 0, 0, 1)),
            (call(xid: 3, version: 1, procedure: 0), words(3, 1, 0, 0, 0, 2, 2, 4)),
            (call(xid: 4, version: 5, procedure: 0), words(4, 1, 0, 0, 0, 2, 2, 4)),
            (call(xid: 5, procedure: 99), words(5, 1, 0, 0, 0, 3)),
            (call(xid: 6, procedure: Procedure.garbage), words(6, 1, 0, 0, 0, 4)),
            (call(xid: 7, procedure: Procedure.systemError), words(7, 1, 0, 0, 0, 5)),
            (call(xid: 8, procedure: 0, credential: words(6, 0)), words(8, 1, 1, 1, 1)),
            (call(xid: 9, procedure: 0, verifier: words(6, 0)), words(9, 1, 1, 1, 3)),
            (call(xid: 10, procedure: 0, credential: authSystem()), success(xid: 10)),
        ]
        try await withLoopback { loopback in
            let client = try await loopback.connect()
            for (call, reply) in calls {
                try await client.send(record(call))
                #expect(try await client.reply() == reply)
            }
        }
    }

    @Test func aListenerServesOnlyTheProgramsThatItWasGiven() async throws {
        try await withLoopback { loopback in
            let port = try await loopback.server.bind(host: "127.0.0.1", port: 0, programs: [])
            let client = try await TestClient(port: port)
            try await client.send(record(call(xid: 1, procedure: 0)))
            #expect(try await client.reply() == words(1, 1, 0, 0, 0, 1))
        }
    }

    @Test func aBusyPortIsAnError() async throws {
        try await withLoopback { loopback in
            await #expect(throws: IOError.self) {
                try await loopback.server.bind(host: "127.0.0.1", port: loopback.port)
            }
        }
    }
}
