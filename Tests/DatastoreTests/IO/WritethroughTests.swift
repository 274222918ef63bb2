import BlockStorage
import Foundation
import Glibc
import NIOCore
import Synchronization
import TestTools
import Testing
import Tiering

@testable import Datastore

/// In `writethrough` the image's file alone has everything that was acknowledged, at any time.
@Suite(.serialized)
struct WritethroughTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    @Test func anOlderBlockOfTheLogIsNotLaidOverANewerOneOfTheFile() throws {
        try bed.serve(.writethrough) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            // The client overwrites the block when the destager has just read the older one.
            let failure = Locked<(any Error)?>(nil)
            bed.faults.afterRead.withLock { hook in
                hook = { [bed] in
                    do {
                        try bed.write(0x22, at: offset, handle, datastore)
                    } catch {
                        failure.withLock { $0 = error }
                    }
                }
            }
            try datastore.drain()
            #expect(bed.faults.afterRead.withLock { $0 == nil })
            #expect(failure.withLock { $0 } == nil)
            try #expect(bed.readFile(offset).allSatisfy { $0 == 0x22 })
            try #expect(bed.read(offset, handle, datastore).allSatisfy { $0 == 0x22 })
        }
    }

    /// No client's write comes between what the destager finds to be the log's newest and its own write to the file.
    @Test func aWriteWaitsForTheDestager() throws {
        try bed.serve(.writethrough) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let target = DestagedFile(
                try datastore.openFile(handle),
                on: try FileDevice(path: bed.path("disk.img"), access: .readWrite, mode: .buffered))
            let writer = IOPool(name: "writer", threadCount: 1)
            let hasEnded = DispatchSemaphore(value: 0)
            try target.exclusively(ByteRange(offset: offset, length: 4096)) { () throws(StorageError) in
                writer.submit { [bed] in
                    do {
                        try bed.write(0x22, at: offset, handle, datastore)
                    } catch {
                        Issue.record(error)
                    }
                    hasEnded.signal()
                }
                #expect(hasEnded.wait(timeout: .now() + .milliseconds(300)) == .timedOut)
            }
            #expect(hasEnded.wait(timeout: .now() + 60) == .success)
            writer.shutDown()
            try #expect(bed.readFile(offset).allSatisfy { $0 == 0x22 })
        }
    }

    /// Four writers at random places, while the log is drained all the time, and one that fails at last.
    @Test(arguments: [false, true]) func theFileAloneHasEverything(logFails: Bool) throws {
        let classes = try #require(RedirectClasses(names: "metadata,data"))
        let (writers, blocks) = (4, 512)
        let newest = Locked([UInt8](repeating: 0, count: blocks))
        var start = 0
        try bed.serve(.writethrough, classes: classes) { datastore, handle in
            start = try bed.place(of: .free, length: blocks * 4096, datastore, handle)
            let first = start
            let left = Atomic(writers)
            DispatchQueue.concurrentPerform(iterations: writers + 1) { writer in
                guard writer < writers else {
                    while left.load(ordering: .relaxed) > 0 { try? datastore.drain() }
                    return
                }
                defer { left.subtract(1, ordering: .relaxed) }
                var random = SplitMix64(seed: UInt64(writer))
                for round in 0..<250 {
                    if logFails, round == 200 { bed.faults.writesFail.store(true, ordering: .relaxed) }
                    // Each has blocks of its own.
                    let block = Int(random.next() % UInt64(blocks / writers)) * writers + writer
                    let value = UInt8(truncatingIfNeeded: random.next()) | 1
                    do {
                        try bed.write(value, at: first + block * 4096, handle, datastore)
                        newest.withLock { $0[block] = value }
                    } catch {
                        Issue.record(error)
                    }
                }
            }
            for (block, value) in newest.withLock({ $0 }).enumerated() where value != 0 {
                try #expect(bed.read(start + block * 4096, handle, datastore).allSatisfy { $0 == value })
            }
        }
        for (block, value) in newest.withLock({ $0 }).enumerated() where value != 0 {
            try #expect(bed.readFile(start + block * 4096).allSatisfy { $0 == value }, "block \(block)")
        }
    }

    /// A write that makes the file longer has its blocks drained under its own range, and so has a truncation.
    @Test func aWriteThatDrainsItsOwnRangeDoesNotWaitForItself() throws {
        try bed.serve(.writethrough) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            var cut = AttributeChanges(size: UInt64(offset) + 2048)
            _ = try datastore.setAttributes(handle, cut, guard: nil, as: .root)
            #expect(datastore.tierStatus().liveBytes == 0)
            try bed.write(0x33, at: offset, handle, datastore)
            cut.size = UInt64(offset)
            _ = try datastore.setAttributes(handle, cut, guard: nil, as: .root)
            try bed.write(0x44, at: offset, handle, datastore)
            try #expect(bed.readFile(offset).allSatisfy { $0 == 0x44 })
        }
    }
}
