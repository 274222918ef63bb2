import BlockStorage
import Glibc
import NIOCore
import Synchronization
import Testing
import Tiering

@testable import Datastore

/// A file that leaves an image's session and becomes part of another keeps its number in the cache: what is found there must
/// not be older than the last write, whenever the file was read and written.
///
/// Each of the three things that see to that is tested alone, and what they are for with all of them.
@Suite(.serialized)
struct SessionReplacementTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    /// Calls `body` with an image whose page at `offset` is in the log and not in the cache. What `atRead` holds is called
    /// between the read of that page and its insertion.
    private func withImage(
        _ body: (_ datastore: Datastore, _ handle: HandleAlias, _ file: OpenFile, _ page: ByteRange) throws -> Void
    ) throws {
        try bed.serve(.writeback) { datastore, handle in
            // The block stays in the log, however slow the machine is.
            datastore.tier.stopping.store(true, ordering: .relaxed)
            let page = ByteRange(offset: try bed.redirect(datastore, handle), length: PageCache.pageSize)
            let file = try #require(datastore.files.file(for: handle))
            // Nothing but this test reads the page.
            for _ in 0..<400 where file.member?.session.isBusy != false { usleep(5000) }
            file.forgetPages()
            try body(datastore, handle, file, page)
        }
    }

    private func isCached(_ page: ByteRange, _ file: OpenFile) -> Bool { file.missingByteCount(of: page) == 0 }

    /// What a client reads was read when the file was part of a session, is inserted when it is of none, and was written
    /// over before it is of the next.
    @Test func aPageThatWasBeingReadIsNoOlderThanTheLastWrite() throws {
        try withImage { datastore, handle, file, page in
            let member = try #require(file.member)
            bed.faults.afterRead.withLock { $0 = { file.setMember(nil) } }
            try #expect(bed.read(page.offset, handle, datastore) == RedirectBed.content)
            #expect(file.member == nil)
            try bed.write(1, at: page.offset, handle, datastore)
            file.setMember(member)
            file.setCached(true, for: member.session)
            #expect(file.isCached)
            try #expect(bed.read(page.offset, handle, datastore).allSatisfy { $0 == 1 })
        }
    }

    @Test func whatIsBeingReadWhenAFileLeavesItsSessionIsNotCached() throws {
        try withImage { datastore, handle, file, page in
            try #expect(bed.read(page.offset, handle, datastore) == RedirectBed.content)
            #expect(isCached(page, file))
            file.forgetPages()
            bed.faults.afterRead.withLock { $0 = { file.setMember(nil) } }
            try #expect(bed.read(page.offset, handle, datastore) == RedirectBed.content)
            #expect(file.member == nil)
            #expect(!isCached(page, file))
        }
    }

    @Test func whatWasCachedDoesNotStayWhenAFileChangesItsSession() throws {
        try withImage { _, _, file, page in
            let member = try #require(file.member)
            try file.load(page, kinds: .all(.inodeTable))
            #expect(isCached(page, file))
            file.setMember(nil)
            #expect(!isCached(page, file))
            // The scan of the session that has ended still reads.
            try file.load(page, kinds: .all(.inodeTable))
            #expect(isCached(page, file))
            file.setMember(member)
            #expect(!isCached(page, file))
        }
    }

    @Test func aWriteIsCachedWhereItsPageIsWhateverTheFileIsPartOf() throws {
        try withImage { datastore, handle, file, page in
            file.setMember(nil)
            try file.load(page, kinds: .all(.inodeTable))
            try bed.write(1, at: page.offset, handle, datastore)
            var bytes = [UInt8](repeating: 0, count: page.length)
            let isFound = bytes.withUnsafeMutableBytes { file.readCached(page, into: $0) }
            #expect(!isFound || bytes.allSatisfy { $0 == 1 })
        }
    }
}
