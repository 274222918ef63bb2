import Foundation
import RPCGenClient
import Testing

@Suite("NFS calls that are no calls")
struct CallTests {
    @Test("NULL does nothing; other versions and procedures are refused as RPC wants it")
    func refusesCalls() async throws {
        try await Session.run { session in
            try session.client.connection.null()
            for procedure: UInt32 in [22, 23, 1000, UInt32.max] {
                #expect(throws: CallFailure.procedureUnavailable) {
                    try session.client.connection.call(procedure, words: [])
                }
            }
            for version: UInt32 in [2, 4] {
                let other = try #require(NFSClient(port: session.server.nfsPort, version: version))
                #expect(throws: CallFailure.versionMismatch(low: 3, high: 3)) { try other.connection.null() }
            }
            let mount = try #require(
                RPCConnection(port: session.server.nfsPort, program: UInt32(MOUNT_PROGRAM), version: 3))
            #expect(throws: CallFailure(status: RPC_PROGUNAVAIL.rawValue)) { try mount.null() }
        }
    }

    @Test("Arguments that end early are garbage, for every procedure", arguments: 1...21 as ClosedRange<UInt32>)
    func refusesShortArguments(procedure: UInt32) async throws {
        try await Session.run { session in
            #expect(throws: CallFailure.garbageArguments) { try session.client.connection.call(procedure, words: []) }
            let handle = session.root.bytes
            let padding = [UInt8](repeating: 0, count: -handle.count & 3)
            let start = withUnsafeBytes(of: UInt32(handle.count).bigEndian) { Array($0) } + handle + padding
            #expect(throws: CallFailure.garbageArguments) {
                try session.client.connection.call(procedure, bytes: Array(start.dropLast(4)))
            }
            // With its handle alone, a call is complete or garbage; the server lives on either way.
            session.client.connection.attempt(procedure, bytes: start)
            _ = try session.attributes(session.root)
        }
    }

    @Test("Noise in place of arguments never stops the server", arguments: 1...21 as ClosedRange<UInt32>)
    func survivesNoise(procedure: UInt32) async throws {
        try await Session.run { session in
            let handle = session.root.bytes
            let padding = [UInt8](repeating: 0, count: -handle.count & 3)
            let start = withUnsafeBytes(of: UInt32(handle.count).bigEndian) { Array($0) } + handle + padding
            for seed in 0..<40 as Range<UInt32> {
                let noise = pattern(4 * Int(seed), seed: seed + procedure * 100)
                session.client.connection.attempt(procedure, bytes: noise)
                session.client.connection.attempt(procedure, bytes: start + noise)
                // Small numbers reach deeper than noise does.
                let small = noise.enumerated().map { $0.offset % 4 == 3 ? $0.element & 3 : 0 }
                session.client.connection.attempt(procedure, bytes: start + small)
            }
            _ = try session.attributes(session.root)
        }
    }

    @Test("What keeps a lock alive does not wait behind bulk I/O")
    func keepsLanesApart() async throws {
        try await Session.run { session in
            let lock = try session.file(".lck-1", pattern(84))
            let disk = try session.file("disk", pattern(1 << 20))
            let gate = DispatchSemaphore(value: 0)
            session.server.bulkPool.submit { gate.wait() }

            let bulk = try Session(session.server)
            let held = Held(value: bulk)
            let committed = Task.detached { try held.value.client.commit(disk).status }
            #expect(try session.client.getattr(lock).status == NFS3_OK)
            #expect(try session.client.lookup(session.root, ".lck-1").status == NFS3_OK)
            #expect(try session.client.write(lock, offset: 0, pattern(84, seed: 2), FILE_SYNC).status == NFS3_OK)
            #expect(try session.client.readdir(session.root, count: 4096).status == NFS3_OK)
            #expect(try session.client.setattr(lock, .mode(0o600)).status == NFS3_OK)
            gate.signal()
            #expect(try await committed.value == NFS3_OK)
            #expect(try session.client.read(lock, offset: 0, count: 84).bytes == pattern(84, seed: 2))
        }
    }

    @Test("READ of what is in memory does not wait behind bulk I/O")
    func answersFromMemory() async throws {
        try await Session.run { session in
            let disk = try session.file("disk", pattern(256 << 10))
            #expect(try session.client.read(disk, offset: 0, count: 256 << 10).count == 256 << 10)
            let gate = DispatchSemaphore(value: 0)
            session.server.bulkPool.submit { gate.wait() }
            defer { gate.signal() }
            let reply = try session.client.read(disk, offset: 5000, count: 100_000)
            #expect(reply.bytes == Array(pattern(256 << 10)[5000..<105_000]))
        }
    }
}

/// A value that one other thread uses while this one leaves it alone.
private struct Held<Value>: @unchecked Sendable {
    let value: Value
}
