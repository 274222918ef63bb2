import BlockStorage
import Glibc
import NIOCore
import Testing

@testable import Datastore

/// A scan that fails though the look at the image did not.
@Suite(.serialized)
struct ScanFailureTests {
    /// What the scan needs is in the log, which cannot be read for a while; the look reads the file. Without the beginning
    /// there is no end to a scan, without the inode table it ends, and lacks something.
    @Test(arguments: [false, true]) func aFirstScanThatFailsIsTriedAgain(atTheBeginning: Bool) throws {
        let bed = try RedirectBed()
        try bed.serve(.writeback) { datastore, handle in
            let table = try bed.inodeTable(datastore, handle)
            let range = atTheBeginning ? 1024..<4096 : table..<table + 4096
            let page = try bed.read(range.lowerBound & ~4095, handle, datastore)
            let bytes = ByteBuffer(bytes: page[(range.lowerBound & 4095)...])
            _ = try datastore.write(
                handle, offset: UInt64(range.lowerBound), bytes: bytes, stability: .fileSync, as: .root)
            #expect(datastore.tierStatus().liveBytes == range.count)
        }
        try bed.serve(.writeback) { datastore, handle in
            // Nobody but the scan reads the log.
            datastore.tier.stopping.store(true, ordering: .relaxed)
            bed.faults.readsFail.store(true, ordering: .relaxed)
            _ = try bed.read(1 << 20, handle, datastore)
            func session() -> ImageSession? { datastore.files.file(for: handle)?.member?.session }
            for _ in 0..<6000 where session()?.hasFailed != true { usleep(5000) }
            #expect(session()?.hasFailed == true)
            #expect((session()?.lastScan == nil) == atTheBeginning)
            bed.faults.readsFail.store(false, ordering: .relaxed)
            // Twice a second it is seen which scan is due, and the second is due a second after the first.
            for _ in 0..<6000 where session()?.hasFailed != false { usleep(5000) }
            #expect(session()?.hasFailed == false)
            #expect(session()?.lastScan?.problems == [])
        }
    }
}
