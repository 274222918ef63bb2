import BlockStorage

/// A block of pointers: an indirect block of ext2 and ext3.
///
/// Source: `Documentation/filesystems/ext4/ifork.rst`, "Direct/Indirect Block Addressing".
public enum ExtIndirectBlock {
    /// Pointers in `i_block` that point at data.
    public static let directCount = 12
    /// Levels of indirection.
    public static let maximumLevel = 3

    /// Calls `body` with the index and value of each pointer in `bytes` that is not a hole.
    public static func forEachPointer(in bytes: RawSpan, _ body: (_ index: Int, _ block: UInt32) -> Void) {
        for index in 0..<bytes.byteCount / 4 {
            let block = bytes.uint32(at: index * 4)
            if block != 0 { body(index, block) }
        }
    }

    /// The number of data blocks that a pointer to a block of indirection `level` stands for (0: a data block).
    public static func span(level: Int, blockSize: Int) -> UInt64 {
        (0..<level).reduce(1) { span, _ in span * UInt64(blockSize / 4) }
    }

    /// The first logical block of the tree at `i_block[index]`, and its level: 0 for the direct pointers.
    public static func root(_ index: Int, blockSize: Int) -> (logicalBlock: UInt64, level: Int) {
        guard index >= directCount else { return (UInt64(index), 0) }
        let level = index - directCount + 1
        let before = (1..<level).reduce(UInt64(directCount)) { $0 + span(level: $1, blockSize: blockSize) }
        return (before, level)
    }
}
