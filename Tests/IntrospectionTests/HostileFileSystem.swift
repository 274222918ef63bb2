import BlockStorage
import Foundation
import TestTools

@testable import GuestFilesystems
@testable import Introspection

/// A file system that a tool made on a disk of any size, of which little is stored, to be changed at will.
struct HostileFileSystem {
    let disk: SparseDisk
    let found: ScannedFileSystem

    var blockSize: Int { found.geometry.blockSize }

    /// - Parameter options: what mke2fs is told; `sparse_super2` is among it, so that descriptors are stored once.
    init(_ options: [String], size: String) throws {
        disk = try withTemporaryDirectory { directory in
            let path = "\(directory)/image"
            try runTool("truncate", ["--size", size, path])
            let extended = "lazy_itable_init=1,nodiscard,num_backup_sb=0"
            try runTool("mke2fs", ["-q", "-F", "-E", extended] + options + [path])
            return try SparseDisk(storedAt: path)
        }
        let scan = try DiskScanner(reader: DeviceReader(disk), name: "template").scan()
        guard let first = scan.fileSystems.first else { throw ToolFailure(description: "no file system was made") }
        found = first
    }

    func store(_ value: some FixedWidthInteger, at offset: Int) {
        withUnsafeBytes(of: value.littleEndian) { disk.write($0, at: offset) }
    }

    func bytes(_ offset: Int, _ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { disk.read(into: $0, at: offset) }
        return bytes
    }

    /// Where inode `number`, of the first group, is.
    func place(ofInode number: Int) -> Int {
        Int(found.descriptors[0].inodeTable) * blockSize + (number - 1) * found.geometry.superblock.inodeSize
    }

    /// Blocks that nothing is in, from the middle of the disk on.
    var free: UInt32 { UInt32(clamping: found.geometry.endBlock / 2) }

    /// Calls the first `count` inodes used, and their table initialised.
    func useInodes(_ count: Int) {
        let bitmap = Int(found.descriptors[0].inodeBitmap) * blockSize
        disk.write([UInt8](repeating: 255, count: count / 8), at: bitmap)
        // bg_flags: what it says is not relied on without its checksum, and then says that all counts.
        store(UInt16(0), at: blockSize + 18)
        store(UInt16(0), at: blockSize + 30)
    }

    /// Makes `number` an inode in use.
    func makeInode(_ number: Int, mode: UInt16, flags: UInt32, map: [UInt32], attributes: UInt32 = 0) {
        disk.write(Self.inode(mode: mode, flags: flags, map: map, attributes: attributes), at: place(ofInode: number))
    }

    static func inode(mode: UInt16, flags: UInt32, map: [UInt32], attributes: UInt32 = 0) -> [UInt8] {
        var inode = [UInt8](repeating: 0, count: 160)
        inode.store(mode, at: 0)
        inode.store(UInt32.max, at: 4)
        inode.store(UInt16(1), at: 26)
        inode.store(UInt32(200_000), at: 28)
        inode.store(flags, at: 32)
        inode.store(attributes, at: 104)
        for (index, word) in map.enumerated() { inode.store(word, at: 40 + 4 * index) }
        return inode
    }

    /// An extent tree's root with one child, at `block`.
    static func root(child block: UInt32) -> [UInt32] { [0x0001_F30A, 0x0001_0004, 0, 0, block, 0] }

    /// A leaf of as many extents as fit, each of `length` blocks: the first at `start`, the others `stride` on each time.
    func leaf(start: UInt32, length: UInt16, stride: UInt32) -> [UInt8] {
        let room = blockSize / 12 - 1
        var leaf = [UInt8](repeating: 0, count: blockSize)
        leaf.store(ExtExtentNode.magic, at: 0)
        leaf.store(UInt16(room), at: 2)
        leaf.store(UInt16(room), at: 4)
        for index in 0..<room {
            leaf.store(UInt32(index) * UInt32(length), at: 12 + 12 * index)
            leaf.store(length, at: 16 + 12 * index)
            leaf.store(start &+ UInt32(index) &* stride, at: 20 + 12 * index)
        }
        return leaf
    }

    static let directory: UInt16 = 0x41ED
    static let file: UInt16 = 0x81A4
    static let extents: UInt32 = 0x8_0000
    static let attributeValue: UInt32 = 0x20_0000
}

extension SparseDisk {
    func write(_ bytes: [UInt8], at offset: Int) {
        bytes.withUnsafeBytes { write($0, at: offset) }
    }
}
