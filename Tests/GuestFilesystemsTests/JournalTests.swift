import Foundation
import TestTools
import Testing

@testable import GuestFilesystems

/// A journal that `debugfs` writes, one for each size of tags.
struct JournalRecipe: CustomTestStringConvertible, Sendable {
    /// Features of the file system; 64-bit numbers decide those of the journal.
    let features: String
    /// Options of debugfs's `journal_open`: version and kind of the checksums.
    let open: String
    let tagSize: Int
    var blockSize = 1024
    var testDescription: String { "tags of \(tagSize) bytes, blocks of \(blockSize)" }

    static let all = [
        JournalRecipe(features: "^64bit,^metadata_csum", open: "", tagSize: 8),
        JournalRecipe(features: "^64bit,metadata_csum", open: "-c -v 2", tagSize: 10),
        JournalRecipe(features: "64bit,^metadata_csum", open: "", tagSize: 12),
        JournalRecipe(features: "64bit,metadata_csum", open: "-c -v 2", tagSize: 14),
        JournalRecipe(features: "64bit,metadata_csum", open: "-c -v 3", tagSize: 16, blockSize: 4096),
        JournalRecipe(features: "^64bit,metadata_csum", open: "-c -v 3", tagSize: 16),
    ]

    /// The bytes of the journal, and what debugfs says of it. Two transactions, with blocks in them that look like the
    /// journal's own and blocks that are revoked.
    func make() throws -> (journal: [UInt8], dump: String) {
        try withTemporaryDirectory { directory in
            let (image, journal) = (directory + "/image", directory + "/journal")
            try runTool(
                "mke2fs",
                ["-q", "-F", "-t", "ext4", "-O", features, "-b", "\(blockSize)", "-J", "size=8", image, "48M"])
            let magic = Data([0xC0, 0x3B, 0x39, 0x98])
            var contents = Data((0..<300 * blockSize).map { UInt8(truncatingIfNeeded: $0 * 7) })
            for block in [0, 5, 150] {
                contents.replaceSubrange(block * blockSize..<block * blockSize + 4, with: magic)
            }
            try contents.write(to: URL(fileURLWithPath: directory + "/contents"))
            let script = """
                jo \(open)
                jw -b 1700-1999 \(directory)/contents
                jw -r 1720-1790
                jw -b 1725,1729 -r 1800-1999 \(directory)/contents
                jc
                """
            try Data((script + "\n").utf8).write(to: URL(fileURLWithPath: directory + "/script"))
            try runTool("debugfs", ["-w", "-f", directory + "/script", image])
            let dump = try runTool("debugfs", ["-R", "logdump -a", image])
            try runTool("debugfs", ["-R", "dump <8> \(journal)", image])
            return (Array(try Data(contentsOf: URL(fileURLWithPath: journal))), dump)
        }
    }
}

extension JournalSuperblock {
    fileprivate func accepts(_ copy: [UInt8], _ tag: JournalTag, sequence: UInt32) -> Bool {
        isIntact(copy.span.bytes, tag, sequence: sequence)
    }
}

/// A journal in memory, gone through as debugfs does.
struct JournalWalk {
    let bytes: [UInt8]
    let superblock: JournalSuperblock

    init(_ bytes: [UInt8]) throws {
        self.bytes = bytes
        superblock = try JournalSuperblock(parsing: bytes.span.bytes)
    }

    func block(_ number: Int) -> ArraySlice<UInt8> {
        bytes[number * superblock.blockSize..<(number + 1) * superblock.blockSize]
    }

    /// What `logdump` prints of tags, revoked blocks and commits, from the start of the log until the end.
    func lines() throws -> [String] {
        var lines: [String] = []
        var number = Int(superblock.start)
        var sequence = superblock.sequence
        while number < Int(superblock.logEnd) {
            let block = Array(block(number))
            let span = block.span.bytes
            guard let header = JournalBlockHeader(span), header.sequence == sequence else { break }
            switch header.kind {
            case .descriptor:
                let descriptor = try JournalDescriptorBlock(parsing: span, in: superblock)
                #expect(descriptor.isIntact)
                for (index, tag) in descriptor.tags.enumerated() {
                    lines.append("FS block \(tag.block) logged at journal block \(number + 1 + index)")
                    let copy = Array(self.block(number + 1 + index))
                    #expect(superblock.accepts(copy, tag, sequence: sequence))
                    #expect(tag.isEscaped == (copy[0..<4] == [0, 0, 0, 0] && copy[4] == 28))
                }
                number += descriptor.tags.count
            case .revoke:
                let revoke = try JournalRevokeBlock(parsing: span, in: superblock)
                #expect(revoke.isIntact)
                lines += revoke.blocks.map { "Revoke FS block \($0)" }
            case .commit:
                let commit = try JournalCommitBlock(parsing: span, in: superblock)
                #expect(commit.isIntact)
                lines.append("commit \(sequence) at block \(number)")
                sequence += 1
            default: Issue.record("a superblock in the log")
            }
            number += 1
        }
        return lines
    }

    /// The lines of debugfs's output that ``lines()`` has.
    static func lines(of dump: String) -> [String] {
        dump.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            if line.hasPrefix("  FS block") { return words.prefix(8).joined(separator: " ") }
            if line.hasPrefix("  Revoke FS block") { return words.joined(separator: " ") }
            guard line.contains("(commit block)"), let sequence = words[3].dropLast().split(separator: " ").first
            else { return nil }
            return "commit \(sequence) at block \(words[words.count - 1])"
        }
    }
}

@Suite struct JournalTests {
    @Test(arguments: JournalRecipe.all)
    func equalsWhatDebugfsSays(_ recipe: JournalRecipe) throws {
        let (bytes, dump) = try recipe.make()
        let walk = try JournalWalk(bytes)
        #expect(walk.superblock.isIntact && walk.superblock.blockSize == recipe.blockSize)
        #expect(walk.superblock.tagSize == recipe.tagSize)
        let lines = try walk.lines()
        let isEqual = lines == JournalWalk.lines(of: dump)
        #expect(isEqual)
        #expect(lines.count > 290)
        // debugfs leaves no room for the checksum after tags of 10 bytes, and then finds no commit itself.
        guard recipe.tagSize != 10 else { return }
        #expect(lines.filter { $0.hasPrefix("FS") }.count == 302)
        #expect(lines.filter { $0.hasPrefix("Revoke") }.count == 271)
        #expect(lines.filter { $0.hasPrefix("commit") }.count == 3)
    }

    @Test func checksumsTellWhatWasChanged() throws {
        let (bytes, _) = try JournalRecipe.all[4].make()
        let walk = try JournalWalk(bytes)
        var changed = bytes
        changed[30] ^= 1
        let superblock = try JournalSuperblock(parsing: changed.span.bytes)
        #expect(!superblock.isIntact)
        var descriptor = Array(walk.block(1))
        let tag = try JournalDescriptorBlock(parsing: descriptor.span.bytes, in: walk.superblock).tags[1]
        descriptor[2000] ^= 1
        let found = try JournalDescriptorBlock(parsing: descriptor.span.bytes, in: walk.superblock)
        #expect(!found.isIntact)
        var copy = Array(walk.block(3))
        #expect(walk.superblock.accepts(copy, tag, sequence: walk.superblock.sequence))
        #expect(!walk.superblock.accepts(copy, tag, sequence: walk.superblock.sequence + 1))
        copy[100] ^= 1
        #expect(!walk.superblock.accepts(copy, tag, sequence: walk.superblock.sequence))
    }

    @Test func crc32OfATransactionIsTheOneOfTheStandard() {
        // CRC-32/MPEG-2 of "123456789", which is the same without a final inversion.
        let digits = Array("123456789".utf8)
        let checksum = ExtChecksum.crc32(digits.span.bytes, seed: ~0)
        #expect(checksum == 0x0376_E6E7)
    }

    @Test func superblocksThatMakeNoSenseAreRefused() throws {
        let (bytes, _) = try JournalRecipe.all[0].make()
        let superblock = Array(bytes[0..<1024])
        // What is stored big-endian at an offset, and the field that the error names.
        let changes: [(Int, UInt32, String)] = [
            (0, 1, "h_magic"), (4, 1, "h_magic"), (12, 1000, "s_blocksize"), (12, 1 << 20, "s_blocksize"),
            (16, 1, "s_first"), (20, 0, "s_first"), (28, 1 << 30, "s_start"), (40, 0x40, "s_feature_incompat"),
            (40, 0x18, "s_feature_incompat"),
        ]
        for (offset, value, field) in changes {
            var changed = superblock
            changed.store(value.byteSwapped, at: offset)
            #expect {
                try JournalSuperblock(parsing: changed.span.bytes)
            } throws: {
                ($0 as? ExtFormatError)?.field == field
            }
        }
        var withFastCommits = superblock
        withFastCommits.store(UInt32(0x20).byteSwapped, at: 40)
        let parsed = try JournalSuperblock(parsing: withFastCommits.span.bytes)
        #expect(parsed.fastCommitBlocks == 256 && parsed.logEnd == parsed.length - 256)
        #expect(parsed.isFastCommit(parsed.length - 1) && !parsed.isFastCommit(parsed.logEnd - 1))
        withFastCommits.store(parsed.length.byteSwapped, at: 84)
        #expect(throws: ExtFormatError.self) { try JournalSuperblock(parsing: withFastCommits.span.bytes) }
    }

    /// Whatever the bytes are, parsing ends, and gives no more than fits into a block.
    @Test(arguments: JournalRecipe.all, [1, 2] as [UInt64])
    func mutatedBlocks(_ recipe: JournalRecipe, seed: UInt64) throws {
        let (bytes, _) = try recipe.make()
        let walk = try JournalWalk(bytes)
        var random = SplitMix64(seed: seed)
        var intact = 0
        for round in 0..<400 {
            var superblock = Array(bytes[0..<1024])
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                superblock[Int.random(in: 0..<96, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let parsed = (try? JournalSuperblock(parsing: superblock.span.bytes)) ?? walk.superblock
            let original = Array(walk.block([1, 2, 305][round % 3]))
            var block = original
            for _ in 0..<Int.random(in: 1...20, using: &random) {
                block[Int.random(in: 12..<block.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            for kind in [UInt32(1), 2, 5] {
                block.store(JournalBlockHeader.magic.byteSwapped, at: 0)
                block.store(kind.byteSwapped, at: 4)
                let span = block.span.bytes
                if let found = try? JournalDescriptorBlock(parsing: span, in: parsed) {
                    #expect(found.tags.count <= block.count / parsed.tagSize)
                    // Chance may put the same bytes there again.
                    intact += found.isIntact && parsed.tailSize > 0 && block != original ? 1 : 0
                }
                if let found = try? JournalRevokeBlock(parsing: span, in: parsed) {
                    #expect(found.blocks.count <= block.count / 4)
                }
                _ = try? JournalCommitBlock(parsing: span, in: parsed)
            }
        }
        #expect(intact == 0)
    }
}

@Suite struct JournalFastCommitTests {
    private func record(_ tag: UInt16, _ words: [UInt32], extra: Int = 0) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4 + words.count * 4 + extra)
        bytes.store(tag, at: 0)
        bytes.store(UInt16(bytes.count - 4), at: 2)
        for (index, word) in words.enumerated() { bytes.store(word, at: 4 + index * 4) }
        return bytes
    }

    private func records(in bytes: [UInt8]) -> [JournalFastCommitRecord] {
        var found: [JournalFastCommitRecord] = []
        JournalFastCommitRecord.forEach(in: bytes.span.bytes) {
            found.append($0)
            return true
        }
        return found
    }

    private var block: [UInt8] {
        let records = [
            record(9, [0, 17]), record(1, [12, 5, 3, 9000]), record(2, [12, 8, 2]), record(3, [2, 13], extra: 5),
            record(6, [13], extra: 160), record(7, [], extra: 10), record(8, [17, 0xABCD]),
        ]
        return records.joined() + [UInt8](repeating: 0, count: 100)
    }

    @Test func recordsAreRecognised() {
        let found = records(in: block)
        #expect(found.count == 6)
        #expect(found.first == .head(features: 0, sequence: 17))
        guard case .addRange(inode: 12, let extent) = found[1] else { return #expect(Bool(false)) }
        #expect(extent.logicalBlock == 5 && extent.length == 3 && extent.block == 9000)
        #expect(found[2] == .deleteRange(inode: 12, logicalBlock: 8, count: 2))
        #expect(found[3] == .name(parent: 2, inode: 13))
        guard case .inode(13, let range) = found[4] else { return #expect(Bool(false)) }
        #expect(range.count == 160)
        #expect(found[5] == .tail(sequence: 17, checksum: 0xABCD))
    }

    @Test func anyBytesEnd() {
        var random = SplitMix64(seed: 3)
        for _ in 0..<2000 {
            var bytes = Array(block.prefix(Int.random(in: 0...block.count, using: &random)))
            for _ in 0..<Int.random(in: 0...4, using: &random) where !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            #expect(records(in: bytes).count <= bytes.count / 4)
        }
    }
}
