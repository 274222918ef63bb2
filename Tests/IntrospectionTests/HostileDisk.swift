import BlockStorage
import Foundation
import TestTools
import Testing

@testable import GuestFilesystems
@testable import Introspection
@testable import Volumes

/// A disk that says what no sane guest says, at the limits of what its fields can hold: trees of extents and pointers that
/// claim everything or themselves, journals, attributes, clusters, stripes and mirrors. Checksums that count are right.
struct HostileDisk {
    /// Small file systems that real tools made, to be made hostile.
    struct Template: Sendable {
        let bytes: [UInt8]
        let found: ScannedFileSystem

        static func all() throws -> [Template] {
            let recipes: [[String]] = [
                ["-t", "ext4", "-b", "1024", "-J", "size=1"], ["-t", "ext3", "-b", "1024", "-J", "size=1"],
                ["-t", "ext4", "-b", "1024", "-O", "bigalloc,^has_journal", "-C", "16384"],
                ["-t", "ext4", "-b", "1024", "-O", "ea_inode,quota,orphan_file", "-J", "size=1"],
                ["-t", "ext4", "-b", "4096", "-O", "^has_journal"],
            ]
            return try withTemporaryDirectory { directory in
                try recipes.enumerated().map { number, options in
                    let path = "\(directory)/\(number)"
                    try runTool("mke2fs", ["-q", "-F", "-N", "64"] + options + [path, "4M"])
                    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
                    let device = MemoryDevice(size: bytes.count)
                    try device.write(bytes, at: 0)
                    let scan = try DiskScanner(reader: DeviceReader(device), name: "template").scan()
                    return Template(bytes: bytes, found: try #require(scan.fileSystems.first))
                }
            }
        }
    }

    let disk: SparseDisk
    /// Places that decide something, which a guest writes to afterwards.
    var targets: [ByteRange] = []
    var random: SplitMix64
    private let template: Template?

    init(seed: UInt64, _ templates: [Template]) {
        random = SplitMix64(seed: seed)
        if seed % 4 == 3 {
            template = nil
            disk = SparseDisk(size: 1 << Int.random(in: 26...49, using: &random))
            makeVolumeGroup()
        } else {
            let template = templates[Int(seed / 4) % templates.count]
            self.template = template
            // Room for what the superblock may be made to say.
            disk = SparseDisk(size: template.bytes.count << Int.random(in: 0...20, using: &random))
            template.bytes.withUnsafeBytes { disk.write($0, at: 0) }
            makeFileSystemHostile()
        }
    }

    // MARK: Numbers

    mutating func pick<Value>(_ values: [Value]) -> Value { values[Int.random(in: 0..<values.count, using: &random)] }

    mutating func block() -> UInt32 {
        let count = UInt32(clamping: template?.found.geometry.endBlock ?? 1)
        return pick([0, 1, count - 1, count, .max, .random(in: 0..<count, using: &random), pool, pool + 1, pool + 7])
    }

    private func store(_ value: some FixedWidthInteger, at offset: Int) {
        guard offset + value.bitWidth / 8 <= disk.size else { return }
        withUnsafeBytes(of: value.littleEndian) { disk.write($0, at: offset) }
    }

    // MARK: File systems

    /// Blocks in the middle that nodes of trees are made of.
    private var pool: UInt32 { UInt32(clamping: (template?.found.geometry.endBlock ?? 64) * 3 / 4) }
    private static let poolCount = 24
    private var blockSize: Int { template?.found.geometry.blockSize ?? 1024 }

    private mutating func makeFileSystemHostile() {
        guard let found = template?.found else { return }
        if Bool.random(using: &random) { growFileSystem(found) }
        for index in 0..<Self.poolCount { fillNode(at: (Int(pool) + index) * blockSize) }
        targets.append(ByteRange(offset: Int(pool) * blockSize, length: Self.poolCount * blockSize))
        let descriptor = found.descriptors[0]
        guard let table = found.geometry.inodeTable(descriptor) else { return }
        targets.append(ByteRange(offset: Int(table.lowerBound) * blockSize, length: table.count * blockSize))
        targets.append(ByteRange(offset: Int(descriptor.blockBitmap) * blockSize, length: blockSize))
        targets.append(ByteRange(offset: Int(descriptor.inodeBitmap) * blockSize, length: blockSize))
        if let log = found.journal?.log, let first = log.block(at: 0) {
            let start = ByteRange(offset: Int(first) * blockSize, length: 64 * blockSize)
            targets += [start, start, start]
        }
        // All inodes are in use.
        store(UInt64.max, at: Int(descriptor.inodeBitmap) * blockSize)
        for number in 1...64 where Int.random(in: 0..<3, using: &random) > 0 {
            makeInode(at: Int(table.lowerBound) * blockSize + (number - 1) * found.geometry.superblock.inodeSize)
        }
        // Flags that call tables and bitmaps unused would save them.
        if Bool.random(using: &random) { store(UInt16(0), at: (blockSize == 1024 ? 2048 : blockSize) + 18) }
    }

    /// Makes the file system one of very many groups, of which none was written.
    private mutating func growFileSystem(_ found: ScannedFileSystem) {
        let superblock = found.geometry.superblock
        let groups = min(disk.size / superblock.blockSize / Int(superblock.blocksPerGroup), 1 << 16)
        guard groups > 1, superblock.blocksPerCluster == 1 else {
            return store(UInt32.random(in: 0...20, using: &random), at: 1024 + 28)
        }
        store(UInt32(groups) * superblock.inodesPerGroup, at: 1024)
        store(UInt32(clamping: groups * Int(superblock.blocksPerGroup)), at: 1024 + 4)
    }

    mutating func makeInode(at offset: Int) {
        store(pick([UInt16(0x81A4), 0x41ED, 0xA1FF, 0x81A4, 0]), at: offset)
        store(pick([UInt32(0), 1, .max]), at: offset + 4)
        store(pick([UInt16(1), 0, .max]), at: offset + 26)
        store(UInt32(200_000), at: offset + 28)
        let isTree = Bool.random(using: &random)
        store(pick([0, UInt32(0x20_0000), 0x1000_0000]) | (isTree ? 0x8_0000 : 0), at: offset + 32)
        store(block(), at: offset + 104)
        if isTree {
            fillExtents(at: offset + 40, room: 4, depth: pick([0, 0, 1, 2, 5, 6]))
        } else {
            for index in 0..<15 { store(block(), at: offset + 40 + 4 * index) }
        }
    }

    private mutating func fillExtents(at offset: Int, room: Int, depth: Int) {
        store(ExtExtentNode.magic, at: offset)
        let count = Bool.random(using: &random) ? room : Int.random(in: 0...room, using: &random)
        store(UInt16(clamping: count), at: offset + 2)
        store(UInt16(clamping: room), at: offset + 4)
        store(UInt16(clamping: depth), at: offset + 6)
        for index in 0..<room {
            let entry = offset + 12 * (index + 1)
            store(pick([UInt32(0), 1, .max, .max - 1, UInt32(index)]), at: entry)
            if depth == 0 {
                store(pick([UInt16(0), 1, 2, 32767, 32768, 32769, .max]), at: entry + 4)
                store(UInt16(0), at: entry + 6)
                store(block(), at: entry + 8)
            } else {
                store(block(), at: entry + 4)
                store(UInt16(0), at: entry + 8)
            }
        }
    }

    /// Fills a block with what may be found in one that is followed.
    mutating func fillNode(at offset: Int) {
        switch Int.random(in: 0..<3, using: &random) {
        case 0: fillExtents(at: offset, room: blockSize / 12 - 1, depth: pick([0, 0, 1, 2, 4]))
        case 1: for index in 0..<blockSize / 4 { store(block(), at: offset + 4 * index) }
        default: store(UInt32(0xEA02_0000), at: offset)
        }
    }

    // MARK: Writes

    /// Bytes that a guest writes next, and where.
    mutating func nextWrite() -> (offset: Int, bytes: [UInt8])? {
        guard !targets.isEmpty else { return nil }
        let target = pick(targets)
        let count = min(target.length, blockSize * pick([1, 2, 8, 64]))
        let offset = target.offset + Int.random(in: 0...(target.length - count) / blockSize, using: &random) * blockSize
        for start in stride(from: offset, to: offset + count, by: blockSize) { fill(blockAt: start, of: target) }
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { disk.read(into: $0, at: offset) }
        return (offset, bytes)
    }

    private mutating func fill(blockAt offset: Int, of target: ByteRange) {
        guard let found = template?.found else { return }
        if let log = found.journal?.log, let first = log.block(at: 0), Int(first) * blockSize == target.offset {
            return fillJournalBlock(at: offset)
        }
        switch targets.firstIndex(of: target) {
        case 0: fillNode(at: offset)
        case 1:
            let size = found.geometry.superblock.inodeSize
            for place in stride(from: offset, to: offset + blockSize, by: size) { makeInode(at: place) }
        default:
            for index in 0..<blockSize / 8 {
                store(pick([UInt64(0), .max, .random(in: 0...(.max), using: &random)]), at: offset + 8 * index)
            }
        }
    }

    /// A header of any kind, with tags at the limits.
    private mutating func fillJournalBlock(at offset: Int) {
        store(JournalBlockHeader.magic.byteSwapped, at: offset)
        store(pick([UInt32(1), 1, 2, 4, 5]).byteSwapped, at: offset + 4)
        store(pick([UInt32(0), 1, 2, 3, .max]).byteSwapped, at: offset + 8)
        store(pick([UInt32(16), 1024, .max, UInt32(blockSize)]).byteSwapped, at: offset + 12)
        for index in 4..<blockSize / 4 { store((block() & 0xffff_fff7).byteSwapped, at: offset + 4 * index) }
    }
}
