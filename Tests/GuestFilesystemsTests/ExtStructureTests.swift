import TestTools
import Testing

@testable import GuestFilesystems

@Suite struct ExtStructureTests {
    @Test func inodeFieldsAndMapping() throws {
        var bytes = [UInt8](repeating: 0, count: 256)
        bytes.store(UInt16(0x81A4), at: 0)
        bytes.store(UInt32(5), at: 4)
        bytes.store(UInt16(1), at: 26)
        bytes.store(UInt32(8), at: 28)
        bytes.store(UInt32(77), at: 40 + 4 * 13)
        bytes.store(UInt32(9), at: 104)
        bytes.store(UInt32(1), at: 108)
        bytes.store(UInt16(2), at: 118)
        let inode = try ExtInode(parsing: bytes.span.bytes)
        let superblock = try smallSuperblock()
        #expect(inode.kind == .regular)
        #expect(inode.size == 1 << 32 | 5)
        #expect(inode.pointer(13) == 77)
        #expect(inode.mapping(number: 12, in: superblock) == .indirect)
        #expect(inode.attributeBlock(in: superblock) == 9)
        #expect(inode.isInUse(number: 12, in: superblock))
        #expect(throws: ExtFormatError.self) { try ExtInode(parsing: bytes.span.bytes, at: 129) }
    }

    @Test func inodesWithoutLinksAreInUseOnlyAsOrphans() throws {
        var bytes = [UInt8](repeating: 0, count: 128)
        bytes.store(UInt16(0x81A4), at: 0)
        let journaled = try smallSuperblock { $0.store(UInt32(4), at: 92) }
        let plain = try smallSuperblock()
        for (time, inUse) in [(UInt32(0), true), (12, true), (1_700_000_000, false)] {
            bytes.store(time, at: 20)
            let inode = try ExtInode(parsing: bytes.span.bytes)
            #expect(inode.isInUse(number: 12, in: journaled) == inUse)
            #expect(!inode.isInUse(number: 12, in: plain))
        }
    }

    @Test func symbolicLinksWithinTheInodeHaveNoBlocks() throws {
        var bytes = [UInt8](repeating: 0, count: 128)
        bytes.store(UInt16(0xA1FF), at: 0)
        bytes.store(UInt32(20), at: 4)
        bytes.store(UInt16(1), at: 26)
        let superblock = try smallSuperblock()
        #expect(try ExtInode(parsing: bytes.span.bytes).mapping(number: 12, in: superblock) == .none)
        bytes.store(UInt32(2), at: 28)
        #expect(try ExtInode(parsing: bytes.span.bytes).mapping(number: 12, in: superblock) == .indirect)
        bytes.store(UInt32(50), at: 104)
        #expect(try ExtInode(parsing: bytes.span.bytes).mapping(number: 12, in: superblock) == .none)
    }

    @Test func extentNodes() throws {
        var bytes = [UInt8](repeating: 0, count: 60)
        bytes.store(ExtExtentNode.magic, at: 0)
        bytes.store(UInt16(2), at: 2)
        bytes.store(UInt16(4), at: 4)
        bytes.store(UInt32(7), at: 12)
        bytes.store(UInt16(32768), at: 16)
        bytes.store(UInt16(1), at: 18)
        bytes.store(UInt32(99), at: 20)
        bytes.store(UInt16(32770), at: 28)
        let leaf = try ExtExtentNode(parsing: bytes.span.bytes)
        var extents: [ExtExtent] = []
        leaf.forEachExtent(in: bytes.span.bytes) { extents.append($0) }
        #expect(
            extents == [
                ExtExtent(logicalBlock: 7, length: 32768, block: 1 << 32 | 99, isWritten: true),
                ExtExtent(logicalBlock: 0, length: 2, block: 0, isWritten: false),
            ])
        leaf.forEachChild(in: bytes.span.bytes) { _, _ in Issue.record("a leaf has no children") }

        bytes.store(UInt16(1), at: 6)
        let index = try ExtExtentNode(parsing: bytes.span.bytes, expectedDepth: 1)
        var children: [UInt64] = []
        index.forEachChild(in: bytes.span.bytes) { children.append($1) }
        #expect(children == [UInt64(99) << 32 | 0x1_8000, 32770])
        #expect(throws: ExtFormatError.self) { try ExtExtentNode(parsing: bytes.span.bytes, expectedDepth: 0) }
    }

    @Test(arguments: [(0, UInt16(0)), (2, 5), (4, 5), (6, 6)])
    func extentNodesThatLie(offset: Int, value: UInt16) {
        var bytes = [UInt8](repeating: 0, count: 60)
        bytes.store(ExtExtentNode.magic, at: 0)
        bytes.store(UInt16(4), at: 4)
        bytes.store(value, at: offset)
        #expect(throws: ExtFormatError.self) { try ExtExtentNode(parsing: bytes.span.bytes) }
    }

    @Test func indirectArithmetic() {
        #expect(ExtIndirectBlock.root(3, blockSize: 1024) == (3, 0))
        #expect(ExtIndirectBlock.root(12, blockSize: 1024) == (12, 1))
        #expect(ExtIndirectBlock.root(13, blockSize: 1024) == (268, 2))
        #expect(ExtIndirectBlock.root(14, blockSize: 1024) == (268 + 65536, 3))
        #expect(ExtIndirectBlock.span(level: 3, blockSize: 65536) == 1 << 42)
        var bytes = [UInt8](repeating: 0, count: 1024)
        bytes.store(UInt32(5), at: 1020)
        var seen: [UInt32] = []
        ExtIndirectBlock.forEachPointer(in: bytes.span.bytes) { seen += [UInt32($0), $1] }
        #expect(seen == [255, 5])
    }

    @Test func directoryEntries() throws {
        var bytes = [UInt8](repeating: 0, count: 1024)
        bytes.store(UInt32(2), at: 0)
        bytes.store(UInt16(12), at: 4)
        bytes.store(UInt16(0x0201), at: 6)
        bytes[8] = UInt8(ascii: ".")
        bytes.store(UInt16(12), at: 12 + 4)
        bytes.store(UInt32(11), at: 24)
        bytes.store(UInt16(1000), at: 28)
        bytes.store(UInt16(0x0102), at: 30)
        bytes.replaceSubrange(32..<34, with: "ab".utf8)
        var names: [String] = []
        try ExtDirectoryBlock.forEachEntry(in: bytes.span.bytes, hasFileTypes: true) {
            names.append("\($0.inode) \($0.fileType) \($0.name(in: bytes.span.bytes))")
            return true
        }
        #expect(names == ["2 2 .", "11 1 ab"])
    }

    @Test(arguments: [UInt16(0), 4, 13, 1004, 65535])
    func directoryLengthsThatLie(length: UInt16) {
        var bytes = [UInt8](repeating: 0, count: 1024)
        bytes.store(UInt16(24), at: 4)
        bytes.store(length, at: 28)
        #expect(throws: ExtFormatError.self) {
            try ExtDirectoryBlock.forEachEntry(in: bytes.span.bytes, hasFileTypes: true) { _ in true }
        }
    }

    @Test func bitmapRuns() {
        var random = SplitMix64(seed: 7)
        for _ in 0..<200 {
            var bytes = (0..<Int(random.next() % 40)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            if random.next() % 2 == 0 { bytes += [UInt8](repeating: random.next() % 2 == 0 ? 255 : 0, count: 64) }
            let count = Int(random.next() % UInt64(bytes.count * 8 + 9))
            var runs: [Range<Int>] = []
            ExtBitmap.forEachSetRun(in: bytes.span.bytes, count: count) { runs.append($0) }
            let copy = bytes
            let expected = (0..<count).filter { ExtBitmap.isSet($0, in: copy.span.bytes) }
            #expect(runs.flatMap { Array($0) } == expected)
            #expect(zip(runs, runs.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
        }
    }

    @Test func checksums() {
        let text = Array("123456789".utf8)
        let castagnoli = ExtChecksum.crc32c(text.span.bytes, seed: ~0)
        #expect(castagnoli ^ ~0 == 0xE306_9283)
        let ibm = ExtChecksum.crc16(text.span.bytes, seed: 0)
        #expect(ibm == 0xBB3D)
        let number: [UInt8] = [0x78, 0x56, 0x34, 0x12]
        let wide = ExtChecksum.crc32c(number.span.bytes, seed: 1)
        #expect(ExtChecksum.crc32c(0x1234_5678, seed: 1) == wide)
        let narrow = ExtChecksum.crc16(number.span.bytes, seed: 1)
        #expect(ExtChecksum.crc16(0x1234_5678, seed: 1) == narrow)
    }
}
