import BlockStorage
import TestTools

@testable import GuestFilesystems
@testable import Introspection

extension HostileImage {
    static func fileSystems() throws -> [HostileImage] {
        [
            try journal(), attributeValues(try large()),
            directories(try large(), "directories of holes", length: 16_384, stride: 16_400),
            try farAndWide(), names(try large()), attributes(try large()), try bitmaps(), try clusters(),
            try repeatingPointers(),
        ]
    }

    /// Directories whose blocks are so far from each other that each is read by itself.
    static func farAndWide() throws -> HostileImage {
        directories(try large(), "directories far and wide", length: 1, stride: 16)
    }

    /// 1,024 groups, of which next to nothing is stored.
    private static func large() throws -> HostileFileSystem {
        let features = "^has_journal,^resize_inode,sparse_super2,ea_inode"
        return try HostileFileSystem(["-t", "ext4", "-b", "4096", "-N", "524288", "-O", features], size: "128G")
    }

    /// A journal whose last extent passes the largest block of a file, and a write there.
    private static func journal() throws -> HostileImage {
        let made = try HostileFileSystem(
            ["-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "sparse_super2"], size: "4M")
        let map = made.place(ofInode: 8) + 40
        let count = Int(made.bytes(map + 2, 1)[0])
        let entry = map + 12 * (count + 1)
        made.store(UInt16(count + 1), at: map + 2)
        made.store(UInt32.max, at: entry)
        made.store(UInt16(2), at: entry + 4)
        made.store(UInt16(0), at: entry + 6)
        made.store(made.free, at: entry + 8)
        let block = [UInt8](repeating: 1, count: 1024)
        let writes = (0..<4).map { Write(offset: (Int(made.free) + $0 % 2) * 1024, bytes: block) }
        return HostileImage("a journal past the largest file", made.disk, writes: writes)
    }

    /// Inodes that hold values of attributes, each in gigabytes of holes: all of it would be metadata.
    private static func attributeValues(_ made: HostileFileSystem) -> HostileImage {
        made.useInodes(512)
        for number in 12..<268 {
            let block = 200 + UInt32(number)
            made.disk.write(
                made.leaf(start: UInt32(number - 12) * 130_000, length: 32_767, stride: 32_768),
                at: Int(block) * made.blockSize)
            made.makeInode(
                number, mode: HostileFileSystem.file,
                flags: HostileFileSystem.extents | HostileFileSystem.attributeValue,
                map: HostileFileSystem.root(child: block))
        }
        return HostileImage("values of attributes in holes", made.disk, writes: rewrites(of: made, inodes: 12..<28))
    }

    /// Directories of holes: in each so many runs of `length` blocks, `stride` from each other.
    private static func directories(
        _ made: HostileFileSystem, _ name: String, length: UInt16, stride: UInt32
    ) -> HostileImage {
        made.useInodes(512)
        for number in 12..<500 {
            let block = 300 + UInt32(number)
            made.disk.write(
                made.leaf(start: UInt32(number) * 60_000, length: length, stride: stride),
                at: Int(block) * made.blockSize)
            made.makeInode(
                number, mode: HostileFileSystem.directory, flags: HostileFileSystem.extents,
                map: HostileFileSystem.root(child: block))
        }
        return HostileImage(name, made.disk, writes: rewrites(of: made, inodes: 12..<28))
    }

    /// Directories all of whose blocks are one, full of names of each other.
    private static func names(_ made: HostileFileSystem) -> HostileImage {
        made.useInodes(512)
        var block = [UInt8](repeating: 0, count: made.blockSize)
        for index in 0..<made.blockSize / 12 {
            let isLast = index == made.blockSize / 12 - 1
            block.store(UInt32(12 + index % 480), at: 12 * index)
            block.store(UInt16(isLast ? made.blockSize - 12 * index : 12), at: 12 * index + 4)
            block[12 * index + 6] = 3
            block[12 * index + 7] = 2
            for place in 0..<3 { block[12 * index + 8 + place] = UInt8(97 + (index >> (4 * place)) % 16) }
        }
        made.disk.write(block, at: Int(made.free) * made.blockSize)
        for number in [2] + Array(12..<500) {
            let leaf = 1000 + UInt32(number)
            made.disk.write(made.leaf(start: made.free, length: 1, stride: 0), at: Int(leaf) * made.blockSize)
            made.makeInode(
                number, mode: HostileFileSystem.directory, flags: HostileFileSystem.extents,
                map: HostileFileSystem.root(child: leaf))
        }
        return HostileImage("names without an end", made.disk, writes: rewrites(of: made, inodes: 12..<28))
    }

    /// A leaf that claims much, and inodes whose attributes lie in it, written in turn.
    private static func attributes(_ made: HostileFileSystem) -> HostileImage {
        made.useInodes(512)
        let leafBlock: UInt32 = 1000
        var writes: [Write] = []
        made.makeInode(
            12, mode: HostileFileSystem.directory, flags: HostileFileSystem.extents,
            map: HostileFileSystem.root(child: leafBlock))
        for round in 0..<24 {
            let start = made.free + UInt32(round % 3)
            let leaf = made.leaf(start: start, length: 1 + UInt16(round % 2) * 16_383, stride: 16_384)
            if round == 0 { made.disk.write(leaf, at: Int(leafBlock) * made.blockSize) }
            writes.append(Write(offset: Int(leafBlock) * made.blockSize, bytes: leaf))
            let table = (0..<16).flatMap { index in
                HostileFileSystem.inode(
                    mode: HostileFileSystem.file, flags: 0, map: [],
                    attributes: start + UInt32(index) * 16_384 + UInt32(round % 5) * 16_384 * 16)
                    + [UInt8](repeating: 0, count: 96)
            }
            writes.append(Write(offset: made.place(ofInode: 17), bytes: table))
        }
        return HostileImage("attributes that others claim", made.disk, writes: writes)
    }

    /// One bitmap for all of very many groups, in which every other block is free.
    static func bitmaps() throws -> HostileImage {
        let made = try HostileFileSystem(
            ["-t", "ext4", "-b", "4096", "-N", "524288", "-G", "256"]
                + ["-O", "^has_journal,^resize_inode,sparse_super2"], size: "1T")
        let bitmap = [UInt8](repeating: 0x55, count: made.blockSize)
        let size = made.found.geometry.superblock.descriptorSize
        for group in 0..<made.found.geometry.groupCount {
            made.store(made.free, at: made.blockSize + group * size)
            made.store(UInt16(0), at: made.blockSize + group * size + 18)
        }
        let place = Int(made.free) * made.blockSize
        made.disk.write(bitmap, at: place)
        let writes = (0..<8).map { round in
            Write(offset: place, bytes: [UInt8](repeating: round % 2 == 0 ? 0xAA : 0x55, count: made.blockSize))
        }
        return HostileImage("one bitmap for all groups", made.disk, writes: writes)
    }

    /// Clusters of 1 GiB, of which every other one is free, and the other ones then.
    private static func clusters() throws -> HostileImage {
        let made = try HostileFileSystem(
            ["-t", "ext4", "-b", "4096", "-O", "bigalloc,^has_journal,^resize_inode,sparse_super2", "-C", "1M"],
            size: "128G")
        let disk = SparseDisk(size: 8 << 40)
        made.disk.forEachStored { disk.write($1, at: $0) }
        func store(_ value: some FixedWidthInteger, at offset: Int) {
            withUnsafeBytes(of: value.littleEndian) { disk.write($0, at: 1024 + offset) }
        }
        store(made.found.geometry.superblock.inodesPerGroup, at: 0)
        store(UInt32(1) << 31, at: 4)
        store(UInt32(18), at: 28)
        store(UInt32(1) << 31, at: 32)
        store(UInt32(8192), at: 36)
        let place = Int(made.found.descriptors[0].blockBitmap) * 4096
        let writes = (0..<16).map { round in
            Write(offset: place, bytes: [UInt8](repeating: round % 2 == 0 ? 0x55 : 0xAA, count: 512))
        }
        return HostileImage("clusters of 1 GiB", disk, writes: writes)
    }

    /// Directories whose blocks of pointers point at each other.
    private static func repeatingPointers() throws -> HostileImage {
        let made = try HostileFileSystem(
            ["-t", "ext3", "-b", "4096", "-N", "65536", "-O", "^has_journal,^resize_inode,sparse_super2"], size: "16G")
        made.useInodes(256)
        var random = SplitMix64(seed: 13)
        let (pool, count) = (made.free, UInt32(480))
        for block in 0..<count {
            var pointers = [UInt8](repeating: 0, count: made.blockSize)
            for index in 0..<made.blockSize / 4 {
                let isInPool = block < 64
                let target = isInPool ? pool + UInt32.random(in: 0..<count, using: &random) : pool + 4096 * (block - 63)
                pointers.store(isInPool ? target : target + UInt32(index) * 2, at: 4 * index)
            }
            made.disk.write(pointers, at: Int(pool + block) * made.blockSize)
        }
        for number in 12..<256 {
            let nodes = (0..<3).map { pool + UInt32($0 * 20 + number % 60) }
            made.makeInode(
                number, mode: HostileFileSystem.directory, flags: 0,
                map: [UInt32](repeating: 0, count: 12) + nodes)
        }
        return HostileImage("directories of repeating pointers", made.disk, writes: rewrites(of: made, inodes: 12..<28))
    }

    /// The guest takes inodes away and puts them back, a block of their table at a time.
    private static func rewrites(of made: HostileFileSystem, inodes: Range<Int>) -> [Write] {
        let size = made.found.geometry.superblock.inodeSize
        let place = made.place(ofInode: inodes.lowerBound) & ~4095
        let table = made.bytes(place, inodes.count * size)
        return [[UInt8](repeating: 0, count: table.count), table, [UInt8](repeating: 0, count: table.count), table]
            .map { Write(offset: place, bytes: $0) }
    }
}
