import BlockStorage

/// A record of a fast commit: a change of one inode or name, which is logged instead of the blocks that it changes.
///
/// Source: `Documentation/filesystems/ext4/journal.rst`, "Fast Commits", and `fs/ext4/fast_commit.h`. Unlike the rest
/// of the journal these are little-endian.
public enum JournalFastCommitRecord: Hashable, Sendable {
    /// An inode got blocks.
    case addRange(inode: UInt32, ExtExtent)
    /// An inode gave up `count` blocks from `logicalBlock` of its contents.
    case deleteRange(inode: UInt32, logicalBlock: UInt32, count: UInt32)
    /// A name was made or removed.
    case name(parent: UInt32, inode: UInt32)
    /// An inode changed; its bytes are in the block at `bytes`.
    case inode(UInt32, bytes: Range<Int>)
    /// A fast commit on top of transaction `sequence` begins.
    case head(features: UInt32, sequence: UInt32)
    /// A fast commit on top of transaction `sequence` ends.
    case tail(sequence: UInt32, checksum: UInt32)

    /// Calls `body` with the records of the block in `bytes`, in order, until it returns false, one is cut off, or
    /// what follows is none.
    public static func forEach(in bytes: RawSpan, _ body: (JournalFastCommitRecord) -> Bool) {
        var offset = 0
        while offset + 4 <= bytes.byteCount {
            let tag = bytes.uint16(at: offset)
            let start = offset + 4
            let length = Int(bytes.uint16(at: offset + 2))
            guard start + length <= bytes.byteCount, let minimum = minimumLengths[tag], length >= minimum else {
                return
            }
            if let record = record(tag, in: bytes, at: start, length: length), !body(record) { return }
            offset = start + length
        }
    }

    /// Bytes that a record of each kind has at least.
    private static let minimumLengths: [UInt16: Int] = [1: 16, 2: 12, 3: 8, 4: 8, 5: 8, 6: 4, 7: 0, 8: 8, 9: 8]

    /// The record of a known kind, whose bytes are there; nil for padding.
    private static func record(_ tag: UInt16, in bytes: RawSpan, at start: Int, length: Int) -> Self? {
        let first = length >= 4 ? bytes.uint32(at: start) : 0
        switch tag {
        case 1:
            let extent = ExtExtent(entry: bytes, at: start + 4)
            return .addRange(inode: first, extent)
        case 2:
            return .deleteRange(
                inode: first, logicalBlock: bytes.uint32(at: start + 4), count: bytes.uint32(at: start + 8))
        case 3, 4, 5: return .name(parent: first, inode: bytes.uint32(at: start + 4))
        case 6: return .inode(first, bytes: start + 4..<start + length)
        case 8: return .tail(sequence: first, checksum: bytes.uint32(at: start + 4))
        case 9: return .head(features: first, sequence: bytes.uint32(at: start + 4))
        default: return nil
        }
    }
}
