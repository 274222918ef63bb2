import Datastore
import Glibc
import Testing

@testable import NFS

/// Which small WRITEs run among names and attributes.
@Suite("Heartbeats")
struct HeartbeatTests {
    private func file(_ number: UInt8) throws -> FileHandle { try #require(FileHandle([1, 2, 3, number])) }

    @Test("One of a file, two of a client and four of all at a time")
    func boundsSmallWrites() throws {
        let heartbeats = Heartbeats()
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

/// What stands in for an answer when there is none.
@Suite("A store that is cut off")
struct LostStoreTests {
    @Test("has no status that a guest would take for an error of its disk", arguments: [ESHUTDOWN, ENOTCONN])
    func isNoStatus(number: Int32) {
        #expect(NFSStatus(DatastoreError(errorNumber: number, "read")) == .noAnswer)
    }
}
