import BlockStorage
import GuestFilesystems

/// Metadata that are told by what is written, where nothing claims a block yet and no journal names it.
extension LiveFileSystem {
    /// Pointers of an indirect block whose blocks are looked up.
    private static let pointersLookedUp = 8

    /// Whether the journal tells what a block is before it is written in place.
    var isJournalFollowed: Bool {
        // Not by `map`, which takes a copy of the journal with all that it refers to.
        guard let position = journal?.follower.position else { return false }
        return position != .lost
    }

    /// What a block that holds `bytes` must be, by their looks; nil when they look like nothing in particular.
    ///
    /// Data may look like metadata, by chance or since a guest keeps images of disks: it costs time only. Most data is
    /// told by its first few bytes.
    func recognise(_ bytes: RawSpan) -> BlockClass? {
        switch bytes.uint32(at: 0) {
        case 0xEA02_0000: if looksLikeAttributes(bytes) { return .extendedAttribute }
        case let first where UInt16(truncatingIfNeeded: first) == ExtExtentNode.magic:
            if looksLikeExtents(bytes) { return .indirect }
        default: break
        }
        if looksLikeDirectory(bytes) { return .directory }
        return looksLikePointers(bytes) ? .indirect : nil
    }

    /// `h_magic` and `h_blocks` of `Documentation/filesystems/ext4/attributes.rst`.
    private func looksLikeAttributes(_ bytes: RawSpan) -> Bool {
        bytes.uint32(at: 8) == 1
    }

    private func looksLikeExtents(_ bytes: RawSpan) -> Bool {
        guard geometry.superblock.incompatible.contains(.extents), let node = try? ExtExtentNode(parsing: bytes) else {
            return false
        }
        return node.count > 0
    }

    /// Whether entries follow one another to the end of the block, and one at least is in use.
    private func looksLikeDirectory(_ bytes: RawSpan) -> Bool {
        // The first entry is looked at here, since an error of the parser costs more than the rest of a write.
        let length = Int(bytes.uint16(at: 4))
        guard bytes.uint32(at: 0) <= geometry.superblock.inodeCount,
            length >= 8, length % 4 == 0 || bytes.byteCount >= 65536, length <= bytes.byteCount
        else { return false }
        var isOne = false
        do throws(ExtFormatError) {
            try ExtDirectoryBlock.forEachEntry(in: bytes, hasFileTypes: geometry.superblock.hasFileTypes) { entry in
                isOne = entry.inode <= geometry.superblock.inodeCount
                return isOne
            }
        } catch {
            return false
        }
        return isOne
    }

    /// Whether all that is in the block are pointers to different blocks, and those first in it are in use.
    private func looksLikePointers(_ bytes: RawSpan) -> Bool {
        var last: UInt32 = 0
        var lookedUp = 0
        var offset = 0
        while offset < bytes.byteCount {
            if offset % 64 == 0,
                bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self) == .zero
            {
                offset += 64
                continue
            }
            let pointer = bytes.uint32(at: offset)
            offset += 4
            guard pointer != 0 else { continue }
            guard pointer != last, UInt64(pointer) < map.blockCount, pointer > geometry.superblock.firstDataBlock else {
                return false
            }
            last = pointer
            guard lookedUp < Self.pointersLookedUp else { continue }
            lookedUp += 1
            switch map.blockClass(of: UInt64(pointer)) {
            case .data, .pending, .indirect, .directory: break
            default: return false
            }
        }
        return lookedUp > 0
    }
}
