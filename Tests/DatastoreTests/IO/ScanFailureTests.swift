import BlockStorage
import Glibc
import NIOCore
import Testing

@testable import Datastore

/// A scan that fails though the look at the image did not.
@Suite(.serialized)
struct ScanFailureTests {
    /// What the scan needs is in the log, which cannot be read for a while; the look reads the file.
    @Test(arguments: [false, true]) func aFirstScanThatFailsIsTriedAgain(atTheBeginning: Bool) throws {
        let bed = try RedirectBed()
        try redirect(atTheBeginning: atTheBeginning, bed)
        try withFailedScan(bed) { _, session in
            #expect((session.lastScan == nil) == atTheBeginning)
            bed.faults.readsFail.store(false, ordering: .relaxed)
            // Twice a second it is seen which scan is due, and the second is due a second after the first.
            for _ in 0..<6000 where session.hasFailed { usleep(5000) }
            #expect(!session.hasFailed)
            #expect(session.lastScan?.problems == [])
        }
    }

    /// Files that the log has blocks of stay open, and would be looked into again at once.
    @Test func anImageWithBlocksInTheLogIsKeptThoughNobodyUsesIt() throws {
        let bed = try RedirectBed()
        try redirect(atTheBeginning: true, bed)
        try withFailedScan(bed) { datastore, session in
            try #require(session.files.allSatisfy { !$0.isCached })
            datastore.files.endIdleSessions(before: .now + .seconds(600))
            #expect(datastore.files.sessions.first === session)
        }
    }

    /// Has the log take what a scan needs: without the beginning there is no end to it, without the inode table it lacks
    /// something.
    private func redirect(atTheBeginning: Bool, _ bed: RedirectBed) throws {
        try bed.serve(.writeback) { datastore, handle in
            let table = try bed.inodeTable(datastore, handle)
            let range = atTheBeginning ? 1024..<4096 : table..<table + 4096
            let page = try bed.read(range.lowerBound & ~4095, handle, datastore)
            let bytes = ByteBuffer(bytes: page[(range.lowerBound & 4095)...])
            _ = try datastore.write(
                handle, offset: UInt64(range.lowerBound), bytes: bytes, stability: .fileSync, as: .root)
            #expect(datastore.tierStatus().liveBytes == range.count)
        }
    }

    /// Calls `body` when the image was scanned while the log could not be read.
    private func withFailedScan(
        _ bed: RedirectBed, _ body: (_ datastore: Datastore, _ session: ImageSession) throws -> Void
    ) throws {
        try bed.serve(.writeback) { datastore, handle in
            // Nobody but the scan reads the log.
            datastore.tier.stopping.store(true, ordering: .relaxed)
            bed.faults.readsFail.store(true, ordering: .relaxed)
            _ = try bed.read(1 << 20, handle, datastore)
            func session() -> ImageSession? { datastore.files.file(for: handle)?.member?.session }
            for _ in 0..<6000 where session()?.hasFailed != true { usleep(5000) }
            let failed = try #require(session())
            try #require(failed.hasFailed)
            try body(datastore, failed)
        }
    }
}
