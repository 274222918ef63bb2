import Foundation
import RPCGenClient
import Testing

@Suite("READ, WRITE, COMMIT")
struct DataTests {
    @Test("READ gives the bytes of a file, wherever they are asked for, and says when they end")
    func reads() async throws {
        try await Session.run { session in
            let bytes = pattern(100_003)
            let file = try session.file("file", bytes)
            for (offset, count) in [(0, 1), (0, 4096), (1, 3), (4095, 2), (99_999, 4), (50_001, 50_002), (0, 100_003)] {
                for _ in 0..<2 {
                    // The second time from the cache.
                    let reply = try session.client.read(file, offset: UInt(offset), count: UInt32(count))
                    try #require(reply.status == NFS3_OK)
                    #expect(reply.count == count)
                    #expect(reply.bytes == Array(bytes[offset..<offset + count]), "\(count) bytes at \(offset)")
                    #expect(reply.isEndOfFile == (offset + count == bytes.count))
                    #expect(reply.attributes?.size == UInt(bytes.count))
                }
            }
            expectEqual(
                try #require(try session.client.read(file, offset: 0, count: 1).attributes), try session.stat("file"))
        }
    }

    @Test("READ across, at and beyond the end of file")
    func readsEnd() async throws {
        try await Session.run { session in
            let file = try session.file("file", pattern(5000))
            let across = try session.client.read(file, offset: 4000, count: 10_000)
            #expect(across.bytes == Array(pattern(5000)[4000...]))
            #expect(across.isEndOfFile)
            for offset: UInt in [5000, 5001, 1 << 40, UInt(Int64.max), UInt.max - 5, UInt.max] {
                let reply = try session.client.read(file, offset: offset, count: 4096)
                if reply.status == NFS3_OK {
                    #expect(reply.count == 0)
                    #expect(reply.bytes.isEmpty)
                    #expect(reply.isEndOfFile)
                } else {
                    #expect(offset > UInt(Int64.max) - 4096)
                    #expect([NFS3ERR_INVAL, NFS3ERR_FBIG].contains(reply.status))
                }
            }
            let nothing = try session.client.read(file, offset: 10, count: 0)
            #expect(nothing.status == NFS3_OK)
            #expect(nothing.count == 0)
            #expect(!nothing.isEndOfFile)
            let empty = try session.client.read(try session.file("empty"), offset: 0, count: 10)
            #expect(empty.status == NFS3_OK)
            #expect(empty.isEndOfFile)
        }
    }

    @Test("READ of 1 MiB is whole; READ of more is cut to what FSINFO announced")
    func readsMost() async throws {
        try await Session.run { session in
            let bytes = pattern(3 << 20)
            let file = try session.file("file", bytes)
            let reply = try session.client.read(file, offset: 12_345, count: 1 << 20)
            #expect(reply.bytes == Array(bytes[12_345..<12_345 + 1 << 20]))
            for count: UInt32 in [1 << 20 + 1, 2 << 20, UInt32.max] {
                let cut = try session.client.read(file, offset: 0, count: count)
                #expect(cut.status == NFS3_OK)
                #expect(cut.bytes == Array(bytes[0..<1 << 20]))
                #expect(!cut.isEndOfFile)
            }
        }
    }

    @Test("READ and WRITE of what is no regular file are refused")
    func refusesOthers() async throws {
        try await Session.run { session in
            #expect(mkfifo(session.path("fifo"), 0o600) == 0)
            #expect(symlink("x", session.path("link")) == 0)
            for (handle, expected) in [
                (session.root, [NFS3ERR_ISDIR, NFS3ERR_INVAL]), (try session.handle("fifo"), [NFS3ERR_INVAL]),
                (try session.handle("link"), [NFS3ERR_INVAL]),
            ] {
                let read = try session.client.read(handle, offset: 0, count: 1)
                #expect(expected.contains(read.status))
                #expect(read.attributes != nil)
                let write = try session.client.write(handle, offset: 0, [1])
                #expect(expected.contains(write.status))
                #expect(write.wcc.after.value != nil)
                #expect(expected.contains(try session.client.commit(handle).status))
            }
        }
    }

    @Test("WRITE of each stability is read back, is committed no weaker, and has COMMIT's verifier")
    func writes() async throws {
        try await Session.run { session in
            let file = try session.file("file", pattern(10_000))
            var expected = pattern(10_000)
            var verifiers: Set<[UInt8]> = []
            for (index, stable) in [UNSTABLE, DATA_SYNC, FILE_SYNC].enumerated() {
                let bytes = pattern(5000, seed: UInt32(index) + 10)
                let offset = 3000 + index * 2500
                let before = try session.attributes(file)
                let reply = try session.client.write(file, offset: UInt(offset), bytes, stable)
                try #require(reply.status == NFS3_OK)
                #expect(reply.count == 5000)
                #expect(reply.committed.rawValue >= stable.rawValue)
                try expectTrue(reply.wcc, before: before, object: file, session)
                verifiers.insert(reply.verifier)
                expected.replaceSubrange(offset..<min(offset + 5000, expected.count), with: bytes)
                #expect(try session.client.read(file, offset: 0, count: 20_000).bytes == expected)
            }
            let commit = try session.client.commit(file)
            #expect(commit.status == NFS3_OK)
            #expect(commit.wcc.after.value?.size == UInt(expected.count))
            verifiers.insert(commit.verifier)
            #expect(verifiers.count == 1)
            #expect(try [UInt8](Data(contentsOf: URL(fileURLWithPath: session.path("file")))) == expected)
        }
    }

    @Test("The write verifier differs from one start to the next")
    func changesVerifier() async throws {
        var verifiers: Set<[UInt8]> = []
        for _ in 0..<3 {
            try await Session.run { session in
                let file = try session.file("file")
                verifiers.insert(try session.client.commit(file).verifier)
            }
        }
        #expect(verifiers.count == 3)
    }

    @Test("WRITE of 1 MiB is whole, sparse writes read as zeros before them")
    func writesMost() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            let bytes = pattern(1 << 20)
            let reply = try session.client.write(file, offset: 1_000_001, bytes, UNSTABLE)
            try #require(reply.status == NFS3_OK)
            // A WRITE may be short; FSINFO's wtmax says that this one is not.
            #expect(reply.count == 1 << 20)
            #expect(try session.client.read(file, offset: 1_000_001, count: 1 << 20).bytes == bytes)
            let hole = try session.client.read(file, offset: 0, count: 1_000_001)
            #expect(hole.bytes == [UInt8](repeating: 0, count: 1_000_001))
            #expect(try session.client.commit(file, offset: 1_000_001, count: 1 << 20).status == NFS3_OK)
            #expect(try session.stat("file").st_size == 1_000_001 + 1 << 20)
        }
    }

    @Test("WRITE of more than FSINFO announced is short, not refused")
    func writesTooMuch() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            let reply = try session.client.write(file, offset: 0, pattern(1 << 20 + 1000))
            #expect(reply.status == NFS3_OK)
            #expect(reply.count == 1 << 20)
            #expect(try session.stat("file").st_size == 1 << 20)
        }
    }

    @Test("WRITE of nothing succeeds and changes nothing")
    func writesNothing() async throws {
        try await Session.run { session in
            let file = try session.file("file", [1, 2, 3])
            let before = try session.attributes(file)
            let reply = try session.client.write(file, offset: 100, [])
            #expect(reply.status == NFS3_OK)
            #expect(reply.count == 0)
            #expect(try session.attributes(file).size == 3)
            #expect(try session.attributes(file).mtime == before.mtime)
        }
    }

    @Test("WRITE whose count is not the length of its data is garbage")
    func refusesWrongCounts() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            for count: UInt32 in [0, 9, 11, UInt32.max] {
                #expect(throws: CallFailure.garbageArguments) {
                    try session.client.write(file, offset: 0, pattern(10), count: count)
                }
            }
            #expect(throws: CallFailure.garbageArguments) {
                try session.client.write(file, offset: 0, [1], stable_how(rawValue: 3))
            }
            #expect(try session.stat("file").st_size == 0)
        }
    }

    @Test("WRITE past what a file can be is FBIG")
    func refusesOverflow() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            for offset: UInt in [UInt(Int64.max), UInt(Int64.max) - 5, UInt.max - 5, UInt.max] {
                let reply = try session.client.write(file, offset: offset, pattern(10))
                #expect([NFS3ERR_FBIG, NFS3ERR_INVAL].contains(reply.status), "\(offset)")
                #expect(reply.wcc.after.value?.size == 0)
            }
            #expect(try session.client.write(file, offset: UInt.max, pattern(10)).status == NFS3ERR_FBIG)
        }
    }

    @Test("COMMIT takes any range")
    func commitsRanges() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            #expect(try session.client.write(file, offset: 0, pattern(20_000), UNSTABLE).status == NFS3_OK)
            for (offset, count) in [(0, 0), (100, 50), (19_999, 1), (1 << 30, 4096), (Int.max, UInt32.max)]
                as [(Int, UInt32)]
            {
                #expect(try session.client.commit(file, offset: UInt(offset), count: count).status == NFS3_OK)
            }
        }
    }

    @Test("Reads see what was written last, through either client")
    func sharesData() async throws {
        try await Session.run { session in
            let other = try Session(session.server)
            let file = try session.file("file", pattern(8192))
            for round in 0..<20 {
                #expect(try session.client.read(file, offset: 0, count: 8192).status == NFS3_OK)
                let bytes = pattern(100, seed: UInt32(round) + 100)
                #expect(try other.client.write(file, offset: UInt(round * 300), bytes, UNSTABLE).status == NFS3_OK)
                #expect(try session.client.read(file, offset: UInt(round * 300), count: 100).bytes == bytes)
            }
        }
    }
}
