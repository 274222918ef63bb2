import BlockStorage
import Glibc
import RPCGenClient
import SunRPC
import Synchronization
import Testing

@testable import Datastore
@testable import NFS

/// Which small WRITEs run among names and attributes.
@Suite("Heartbeats")
struct HeartbeatTests {
    private func file(_ number: UInt8) throws -> FileHandle { try #require(FileHandle([1, 2, 3, number])) }

    @Test("One of a file, two of a client and four of all at a time")
    func boundsSmallWrites() throws {
        let heartbeats = FewOfAFile(most: 4, mostOfClient: 2)
        #expect(heartbeats.begin(try file(1), by: 1))
        #expect(!heartbeats.begin(try file(1), by: 1))
        #expect(!heartbeats.begin(try file(1), by: 2))
        #expect(heartbeats.begin(try file(2), by: 1))
        #expect(!heartbeats.begin(try file(3), by: 1))
        #expect(heartbeats.begin(try file(3), by: 2))
        #expect(heartbeats.begin(try file(4), by: 3))
        #expect(!heartbeats.begin(try file(5), by: 4))
        heartbeats.end(try file(1))
        #expect(!heartbeats.begin(try file(2), by: 4))
        #expect(heartbeats.begin(try file(1), by: 1))
        for number in 1...4 as ClosedRange<UInt8> { heartbeats.end(try file(number)) }
        #expect(heartbeats.begin(try file(4), by: 1))
    }
}

/// A value that other threads use while this one leaves it alone.
private struct Held<Value>: @unchecked Sendable {
    let value: Value
}

/// Where calls wait for their turn.
@Suite("Lanes")
struct LaneTests {
    /// Calls that wait for WRITEs, or for one another, must not hold the threads that answer everybody's LOOKUP.
    @Test("What sets a file's size waits with bulk I/O")
    func changesSizesAmongBulkData() throws {
        func bytes(_ words: UInt32...) -> [UInt8] {
            words.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
        }
        let handle = bytes(4, 0x0102_0304)
        for (size, isBulk) in [(bytes(0), false), (bytes(1, 0, 4096), true)] {
            let changes = bytes(0, 0, 0) + size + bytes(0, 0)
            let arguments = handle + changes + bytes(0)
            var reader = XDRReader(arguments.span.bytes)
            switch try SetAttr(from: &reader).lane {
            case .bulk: #expect(isBulk)
            case .attributes(let file): #expect(!isBulk && file == FileHandle([1, 2, 3, 4]))
            default: Issue.record("another lane")
            }
            for how in 0...1 as ClosedRange<UInt32> {
                let arguments = handle + bytes(1, 0x6100_0000, how) + changes
                var reader = XDRReader(arguments.span.bytes)
                let lane = try Create(from: &reader).lane
                // What is made anew has nobody's WRITEs.
                if case .bulk = lane { #expect(isBulk && how == 0) } else { #expect(!isBulk || how == 1) }
            }
        }
    }

    /// They wait in each other's way, on threads that others' LOOKUPs need.
    @Test("Small stable WRITEs of one page keep nobody from looking names up")
    func keepsSmallWritesOfAPageFromNames() async throws {
        try await Session.run { session in
            let target = try session.file("target", pattern(4096))
            let ranges = try session.server.datastore.openFile(#require(FileHandle(target.bytes))).ranges
            let ticket = ranges.beginWrite(ByteRange(offset: 0, length: 4096))
            let writers = Held(value: try (0..<64).map { _ in try Session(session.server) })
            let written = Atomic(0)
            let threads = IOPool(name: "writers", threadCount: 64)
            for number in 0..<64 {
                threads.submit {
                    let client = writers.value[number].client
                    let status = try? client.write(target, offset: UInt(number * 16), pattern(16), FILE_SYNC).status
                    if status == NFS3_OK { written.add(1, ordering: .relaxed) }
                }
            }
            // The one thread for bulk data, and one of the two for names that the client may have.
            for _ in 0..<2000 where ranges.waitingCount < 2 { usleep(10_000) }
            #expect(ranges.waitingCount == 2)
            #expect((try? session.client.lookup(session.root, "target").status) == NFS3_OK)
            ranges.endWrite(ticket) { _, _ in }
            threads.shutDown()
            let count = written.load(ordering: .relaxed)
            #expect(count == 64)
        }
    }

    /// A READDIR of hundreds of names is answered by other threads than a LOOKUP: a few of them fill those.
    @Test("Directories are read elsewhere than names are looked up", arguments: [false, true])
    func readsDirectoriesElsewhere(withAttributes: Bool) async throws {
        try await Session.run { session in
            // From now on the server knows who asks, and has to wait for nobody to answer.
            _ = try session.client.getattr(session.root)
            let release = session.server.holdMetadataThreads()
            defer { release() }
            let reply =
                try withAttributes
                ? session.client.readdirplus(session.root, dircount: 1024, maxcount: 4096)
                : session.client.readdir(session.root, count: 4096)
            #expect(reply.status == NFS3_OK)
        }
    }
}
