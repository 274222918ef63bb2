import BlockStorage
import Glibc
import Synchronization
import Testing

@testable import Datastore

/// Blocks that are given up: clients must be able to tell, by the verifier, from the moment that they are gone.
@Suite(.serialized)
struct GivenUpBlocksTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    /// The verifier that a client gets when the server logs a line with `words`, which it does when the blocks are lost and
    /// before `body` returns; nil when there is no such line.
    private func verifier(
        of datastore: Datastore, at words: String, _ body: () throws -> Void
    ) rethrows -> UInt64? {
        let found = Mutex<UInt64?>(nil)
        bed.log.atLine.withLock { hook in
            hook = { line in
                guard line.contains(words) else { return }
                found.withLock { $0 = $0 ?? datastore.writeVerifier }
            }
        }
        defer { bed.log.atLine.withLock { $0 = nil } }
        try body()
        return found.withLock { $0 }
    }

    @Test func theVerifierIsNewBeforeAFailedLogIsGivenUp() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            bed.faults.writesFail.store(true, ordering: .relaxed)
            bed.faults.readsFail.store(true, ordering: .relaxed)
            #expect(failure { try bed.write(1, at: offset, handle, datastore) } == .io)
            let before = datastore.writeVerifier
            let atLoss = try verifier(of: datastore, at: "were given up") { try datastore.detachTier(givingUp: true) }
            #expect(atLoss != nil && atLoss != before)
            // Also what was acknowledged while that ran is to be written again.
            #expect(datastore.writeVerifier != atLoss)
        }
    }

    @Test func theVerifierIsNewBeforeAMissingLogIsGivenUp() throws {
        try bed.serve(.writeback) { datastore, handle in _ = try bed.redirect(datastore, handle) }
        unlink("\(bed.directory)/ssd/redirect.log")
        try bed.serve(.writeback) { datastore, _ in
            let before = datastore.writeVerifier
            let atLoss = try verifier(of: datastore, at: "were given up") { try datastore.detachTier(givingUp: true) }
            #expect(atLoss != nil && atLoss != before)
        }
    }

    /// The log is flushed when it is on record that the file's blocks count.
    @Test func theVerifierIsNewBeforeTheFilesBlocksCount() throws {
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let file = try #require(datastore.files.file(for: handle))
            let redirects = try #require(file.redirects)
            #expect(redirects.noteForeignChange(path: file.path))
            let before = datastore.writeVerifier
            let atLoss = Mutex<UInt64?>(nil)
            bed.faults.atFlush.withLock { hook in
                hook = { atLoss.withLock { $0 = $0 ?? datastore.writeVerifier } }
            }
            defer { bed.faults.atFlush.withLock { $0 = nil } }
            try datastore.resolve(bed.path("disk.img"), keepingLog: false)
            let found = atLoss.withLock { $0 }
            #expect(found != nil && found != before)
            #expect(!redirects.hasRedirect(ByteRange(offset: offset, length: 4096)))
        }
    }
}
