import BlockStorage
import Foundation
import Introspection
import Logging
import NIOCore
import TestTools
import Testing

@testable import Datastore

/// Images whose scan found something wrong.
@Suite struct ReviewTests {
    private static let diskSize = 16 << 20

    /// An image in a server of its own.
    private struct Bed {
        let datastore: Datastore
        let handle: HandleAlias

        var session: ImageSession? { datastore.files.sessions.first }

        init(_ directory: String) throws {
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let export = "\(directory)/export"
            datastore = try Datastore(
                configuration: .init(exports: [.init(path: export)], stateDirectory: "\(directory)/state"),
                logger: logger)
            datastore.openImages()
            let root = try datastore.mount(export, client: .loopback)
            handle = try datastore.lookup(root, FileName("disk.img"), as: .root).handle
        }

        func write(_ bytes: ArraySlice<UInt8>, at offset: Int) throws {
            _ = try datastore.write(
                handle, offset: UInt64(offset), bytes: ByteBuffer(bytes: bytes), stability: .fileSync, as: .root)
        }

        func eventually(_ condition: (ImageSession) -> Bool) -> Bool {
            for _ in 0..<1200 {
                if let session, condition(session) { return true }
                usleep(25_000)
            }
            return false
        }
    }

    private func withDirectory(_ body: (_ directory: String, _ disk: String) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            try runTool("mkdir", ["\(directory)/export"])
            try makeSparseFile("\(directory)/export/disk.img", size: Self.diskSize)
            try body(directory, "\(directory)/export/disk.img")
        }
    }

    /// The scan comes when the superblock and the descriptors are there, and the journal is not.
    @Test func whatAScanFoundHalfWayIsLookedAtAgain() throws {
        try withDirectory { directory, _ in
            let new = "\(directory)/new.img"
            try makeSparseFile(new, size: Self.diskSize)
            try runTool("mke2fs", ["-q", "-F", "-t", "ext3", "-b", "1024", new])
            let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: new)))
            let bed = try Bed(directory)
            defer { bed.datastore.close() }
            #expect(bed.eventually { $0.lastScan != nil && !$0.isBusy })
            func write(_ range: Range<Int>) throws {
                for start in stride(from: range.lowerBound, to: range.upperBound, by: 4096) {
                    let block = bytes[start..<start + 4096]
                    if block.contains(where: { $0 != 0 }) { try bed.write(block, at: start) }
                }
            }
            let half = 64 << 10
            try write(0..<half)
            #expect(
                bed.eventually { $0.lastScan?.problems.contains { $0.contains("the journal has no blocks") } == true })
            try write(half..<bytes.count)
            #expect(bed.eventually { $0.lastScan?.problems == [] && $0.introspector.status.followedJournals == 1 })
        }
    }

    /// A guest that goes on writing to what stays damaged has its image scanned ever more rarely.
    @Test func damageThatStaysIsLookedAtEverMoreRarely() throws {
        try withDirectory { directory, disk in
            try runTool("mke2fs", ["-q", "-F", "-t", "ext3", "-b", "1024", disk])
            // s_journal_inum
            try runTool("debugfs", ["-w", "-R", "set_super_value journal_inum 5", disk])
            let bed = try Bed(directory)
            defer { bed.datastore.close() }
            #expect(bed.eventually { $0.lastScan?.problems.isEmpty == false && !$0.isBusy })
            let session = try #require(bed.session)
            var table: ByteRange?
            session.introspector.forEachClass(in: ByteRange(offset: 0, length: Self.diskSize)) {
                if $1 == .inodeTable { table = table ?? $0 }
            }
            let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: disk)))
            let offset = try #require(table).offset
            let count = session.scanCount
            // Reviews come after 1, 2 and 4 seconds.
            #expect(
                bed.eventually { session in
                    try? bed.write(bytes[offset..<offset + 1024], at: offset)
                    return session.scanCount >= count + 3
                })
            // Not by the time that has passed: scans that are asked for often keep the same distance from each other.
            #expect(session.state.withLock { $0.reviewInterval } >= .seconds(8))
        }
    }
}
