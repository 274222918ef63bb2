import Foundation
import TestTools
import Testing

@testable import GuestFilesystems
@testable import Introspection

/// A journal that is made by hand, block by block.
private struct HandMadeJournal {
    static let blockSize = 1024
    var length: UInt32 = 64
    var features: UInt32 = 0
    /// Blocks at the end that are no part of the log.
    var fastCommitBlocks: UInt32 = 0

    func superblock(start: UInt32, sequence: UInt32) -> [UInt8] {
        var bytes = block(4, sequence: 0)
        for (offset, value) in [
            (12, UInt32(Self.blockSize)), (16, length), (20, 1), (24, sequence), (28, start), (40, features),
            (84, fastCommitBlocks),
        ] { bytes.store(value.byteSwapped, at: offset) }
        return bytes
    }

    func block(_ kind: UInt32, sequence: UInt32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.blockSize)
        bytes.store(JournalBlockHeader.magic.byteSwapped, at: 0)
        bytes.store(kind.byteSwapped, at: 4)
        bytes.store(sequence.byteSwapped, at: 8)
        return bytes
    }

    func descriptor(_ sequence: UInt32, _ blocks: [UInt32]) -> [UInt8] {
        var bytes = block(1, sequence: sequence)
        for (index, home) in blocks.enumerated() {
            bytes.store(home.byteSwapped, at: 12 + index * 8)
            let flags: UInt16 = index == blocks.count - 1 ? 0xA : 2
            bytes.store(flags.byteSwapped, at: 18 + index * 8)
        }
        return bytes
    }

    func revoke(_ sequence: UInt32, _ blocks: [UInt32]) -> [UInt8] {
        var bytes = block(5, sequence: sequence)
        bytes.store(UInt32(16 + blocks.count * 4).byteSwapped, at: 12)
        for (index, home) in blocks.enumerated() { bytes.store(home.byteSwapped, at: 16 + index * 4) }
        return bytes
    }

    /// The blocks of a transaction that names and revokes, from `start` of a log that wraps.
    func transaction(
        _ sequence: UInt32, at start: UInt32, names: [UInt32], revokes: [UInt32] = []
    ) -> [(index: UInt32, bytes: [UInt8])] {
        var blocks: [[UInt8]] = revokes.isEmpty ? [] : [revoke(sequence, revokes)]
        blocks.append(descriptor(sequence, names))
        blocks += names.map { [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: Self.blockSize) }
        blocks.append(block(2, sequence: sequence))
        return blocks.enumerated().map { ((start - 1 + UInt32($0)) % (length - 1) + 1, $1) }
    }

    /// A follower that has begun at block 1 with transaction `sequence`.
    func follower(sequence: UInt32) throws -> JournalFollower {
        let bytes = superblock(start: 0, sequence: sequence)
        var follower = JournalFollower(try JournalSuperblock(parsing: bytes.span.bytes))
        follower.tell(0, bytes)
        follower.tell(0, superblock(start: 1, sequence: sequence))
        return follower
    }
}

extension JournalFollower {
    @discardableResult
    fileprivate mutating func tell(_ index: UInt32, _ bytes: [UInt8]) -> Noted { note(index, bytes.span.bytes) }
}

@Suite struct JournalFollowerTests {
    private let journal = HandMadeJournal()

    @Test func namesBlocksBeforeTheCommit() throws {
        var follower = try journal.follower(sequence: 7)
        let blocks = journal.transaction(7, at: 1, names: [100, 200], revokes: [300])
        let first = follower.tell(blocks[0].index, blocks[0].bytes)
        #expect(first == .nothing)
        guard case .tags(let tags) = follower.tell(blocks[1].index, blocks[1].bytes) else {
            Issue.record("no tags")
            return
        }
        #expect(tags.map(\.block) == [100, 200])
        for block in blocks[2..<4] {
            let noted = follower.tell(block.index, block.bytes)
            #expect(noted == .nothing)
        }
        #expect(!follower.hasWork)
        let next1 = follower.nextCommit()
        #expect(next1 == nil)
        let fifth = follower.tell(blocks[4].index, blocks[4].bytes)
        #expect(fifth == .commit)
        let next = follower.nextCommit()
        let commit = try #require(next)
        #expect(commit.sequence == 7 && commit.revoked == [300])
        #expect(commit.copies.map(\.home) == [100, 200] && commit.copies.map(\.index) == [3, 4])
        #expect(follower.position == .following(head: 6, sequence: 8) && follower.lastCommit == 7)
    }

    /// Rounds and rounds of the log, each transaction's blocks in any order, whole or in pieces.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func anyOrderAndAnyPieces(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var follower = try journal.follower(sequence: UInt32.max - 5)
        var disk = [UInt32: [UInt8]]()
        var start: UInt32 = 1
        for number in 0..<60 {
            let sequence = (UInt32.max - 5) &+ UInt32(number)
            let names = (0..<Int.random(in: 1...20, using: &random)).map { _ in
                UInt32.random(in: 1..<500, using: &random)
            }
            let blocks = journal.transaction(sequence, at: start, names: names, revokes: number % 3 == 0 ? [9] : [])
            for block in blocks.shuffled(using: &random) {
                let next2 = follower.nextCommit()
                #expect(next2 == nil)
                disk[block.index] = block.bytes
                if seed % 2 == 0 {
                    follower.notePart(block.index, 512..<1024)
                    follower.notePart(block.index, 0..<512)
                    #expect(follower.unread == [block.index])
                    follower.tell(block.index, block.bytes)
                } else {
                    follower.tell(block.index, block.bytes)
                }
            }
            let next = follower.nextCommit()
            let commit = try #require(next)
            #expect(commit.sequence == sequence && commit.copies.map { UInt32($0.home) } == names)
            #expect(commit.copies.allSatisfy { disk[$0.index]?[9] == UInt8(truncatingIfNeeded: $0.home) })
            start = (start - 1 + UInt32(blocks.count)) % (journal.length - 1) + 1
            // The tail follows, as it does when the guest has written everything in place.
            follower.tell(0, journal.superblock(start: start, sequence: sequence &+ 1))
            #expect(follower.position == .following(head: start, sequence: sequence &+ 1))
        }
    }

    /// A descriptor that names as many blocks as the log has besides it comes after its own blocks again, without an end.
    @Test func aTransactionThatComesRoundToItsOwnStartIsLost() throws {
        // A descriptor has room for 126 tags here.
        let journal = HandMadeJournal(length: 1 << 14, features: 0x20, fastCommitBlocks: 1 << 14 - 128)
        var descriptor = journal.descriptor(5, (0..<126).map { $0 })
        descriptor.store(UInt16(2).bigEndian, at: 18 + 125 * 8)
        let superblock = journal.superblock(start: 1, sequence: 5)
        var follower = JournalFollower(try JournalSuperblock(parsing: superblock.span.bytes))
        var cursor = follower.startCatchUp(superblock.span.bytes)
        var reads = 0
        while let place = cursor, reads < 1000 {
            reads += 1
            cursor = follower.catchUp(place, descriptor.span.bytes)
        }
        #expect(reads == 2 && follower.position == .lost)
        // The same, as it is written.
        follower = try journal.follower(sequence: 5)
        follower.tell(1, descriptor)
        for index in 2..<128 as Range<UInt32> { follower.tell(index, [UInt8](repeating: 0, count: 1024)) }
        let next = follower.nextCommit()
        #expect(next == nil && follower.position == .lost && !follower.hasWork)
    }

    @Test func aTransactionAsLongAsTheLogIsFollowed() throws {
        var follower = try journal.follower(sequence: 7)
        let blocks = journal.transaction(7, at: 1, names: [UInt32](100..<161))
        #expect(blocks.count == 63)
        for block in blocks { follower.tell(block.index, block.bytes) }
        let next = follower.nextCommit()
        #expect(next?.copies.count == 61 && follower.position == .following(head: 1, sequence: 8))
    }

    @Test func aLaterTransactionBeforeTheEndOfOneMeansThatItIsLost() throws {
        var follower = try journal.follower(sequence: 1)
        let first = journal.transaction(1, at: 1, names: [10])
        for block in first.dropLast() { follower.tell(block.index, block.bytes) }
        for block in journal.transaction(2, at: 4, names: [11]) { follower.tell(block.index, block.bytes) }
        let none = follower.nextCommit()
        #expect(none == nil && follower.position == .lost && !follower.needsCatchUp)
        follower.tell(0, journal.superblock(start: 4, sequence: 2))
        #expect(follower.needsCatchUp)
        follower.tell(0, journal.superblock(start: 0, sequence: 3))
        #expect(follower.position == .empty && !follower.hasWork)
    }

    @Test func catchesUpFromTheTail() throws {
        let disk =
            [(UInt32(0), journal.superblock(start: 60, sequence: 5))]
            + journal.transaction(5, at: 60, names: [1, 2, 3, 4])
            + journal.transaction(6, at: 3, names: [5], revokes: [1])
            + journal.transaction(7, at: 7, names: [6]).dropLast() + journal.transaction(3, at: 20, names: [8])
        let blocks = Dictionary(uniqueKeysWithValues: disk.map { ($0.0, $0.1) })
        let superblock = disk[0].1
        var follower = JournalFollower(try JournalSuperblock(parsing: superblock.span.bytes))
        #expect(follower.position == .lost && follower.needsCatchUp)
        var cursor = follower.startCatchUp(superblock.span.bytes)
        var read = 0
        while let place = cursor {
            let bytes = blocks[place.index] ?? [UInt8](repeating: 0, count: 1024)
            cursor = follower.catchUp(place, bytes.span.bytes)
            read += 1
        }
        #expect(read == 7)
        let next3 = follower.nextCommit()
        #expect(next3?.copies.map(\.index) == [61, 62, 63, 1])
        let next4 = follower.nextCommit()
        #expect(next4?.revoked == [1])
        let next5 = follower.nextCommit()
        #expect(next5 == nil)
        // What was running when it was read goes on.
        let last = try #require(journal.transaction(7, at: 7, names: [6]).last)
        let noted = follower.tell(last.index, last.bytes)
        #expect(noted == .commit)
        let next6 = follower.nextCommit()
        #expect(next6?.sequence == 7)
    }

    @Test func featuresThatTheFirstMountAddsCount() throws {
        var follower = try journal.follower(sequence: 1)
        var with64Bit = journal
        with64Bit.features = 3
        follower.tell(0, with64Bit.superblock(start: 1, sequence: 1))
        var descriptor = journal.block(1, sequence: 1)
        descriptor.store(UInt32(77).byteSwapped, at: 12)
        descriptor.store(UInt16(0xA).byteSwapped, at: 18)
        descriptor.store(UInt32(1).byteSwapped, at: 20)
        guard case .tags(let tags) = follower.tell(1, descriptor) else {
            Issue.record("no tags")
            return
        }
        #expect(tags.map(\.block) == [1 << 32 | 77])
    }

    /// Whatever is written to it, a follower ends what it does, and remembers no more than it may.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func hostileJournals(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var follower = try journal.follower(sequence: 1)
        for _ in 0..<20_000 {
            let index = UInt32.random(in: 0..<journal.length + 3, using: &random)
            var bytes = journal.block(
                UInt32.random(in: 1...5, using: &random), sequence: UInt32.random(in: 1...4, using: &random))
            if index == 0 {
                bytes = journal.superblock(
                    start: UInt32.random(in: 0...5, using: &random), sequence: UInt32.random(in: 1...4, using: &random))
            } else if Bool.random(using: &random) {
                bytes.store(UInt16(Int.random(in: 0...15, using: &random)).byteSwapped, at: 18)
            }
            if Int.random(in: 0..<9, using: &random) == 0 {
                follower.notePart(
                    index, Int.random(in: 0..<512, using: &random)..<Int.random(in: 512...1024, using: &random))
            } else {
                follower.tell(index, bytes)
            }
            if Int.random(in: 0..<30, using: &random) == 0, let cursor = follower.startCatchUp(bytes.span.bytes) {
                _ = follower.catchUp(cursor, bytes.span.bytes)
            }
            if let commit = follower.nextCommit() { #expect(commit.copies.count <= Int(journal.length) * 256) }
            #expect(follower.memoryBytes < 1 << 20)
        }
    }
}
