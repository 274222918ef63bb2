import NIOCore
import Testing

@testable import SunRPC

/// Replies byte by byte, as RFC 5531 section 9 draws them.
@Suite struct RPCReplyTests {
    static let failures: [(failure: RPCFailure, words: [UInt8])] = [
        (.rpcVersionMismatch, words(0x8000_0018, 77, 1, 1, 0, 2, 2)),
        (.authError(.badCredential), words(0x8000_0014, 77, 1, 1, 1, 1)),
        (.authError(.rejectedCredential), words(0x8000_0014, 77, 1, 1, 1, 2)),
        (.authError(.badVerifier), words(0x8000_0014, 77, 1, 1, 1, 3)),
        (.authError(.rejectedVerifier), words(0x8000_0014, 77, 1, 1, 1, 4)),
        (.authError(.tooWeak), words(0x8000_0014, 77, 1, 1, 1, 5)),
        (.programUnavailable, words(0x8000_0018, 77, 1, 0, 0, 0, 1)),
        (.programMismatch(supported: 2...4), words(0x8000_0020, 77, 1, 0, 0, 0, 2, 2, 4)),
        (.procedureUnavailable, words(0x8000_0018, 77, 1, 0, 0, 0, 3)),
        (.garbageArguments, words(0x8000_0018, 77, 1, 0, 0, 0, 4)),
        (.systemError, words(0x8000_0018, 77, 1, 0, 0, 0, 5)),
    ]

    @Test(arguments: failures.indices) func aFailureIsEncodedAsTheRFCSays(index: Int) {
        let (failure, expected) = Self.failures[index]
        #expect(RPCReply.failure(xid: 77, failure).array == expected, "\(failure)")
    }

    @Test(arguments: [0, 1, 100_000]) func aSuccessIsFollowedByItsResults(capacity: Int) {
        var writer = RPCReply.success(xid: 77, capacity: capacity)
        #expect(writer.count == RPCReply.headerLength)
        writer.write(5 as UInt32)
        #expect(RPCReply.seal(writer).array == words(0x8000_001C, 77, 1, 0, 0, 0, 0, 5))
    }

    /// Results within the announced capacity never move to another buffer.
    @Test func theCapacityCoversTheResults() {
        var writer = RPCReply.success(xid: 1, capacity: 1 << 20)
        let before = writer.buffer.address
        writer.buffer.writeRepeatingByte(1, count: 1 << 20)
        #expect(writer.buffer.address == before)
    }
}
