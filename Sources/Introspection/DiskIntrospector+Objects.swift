import BlockStorage

extension DiskIntrospector {
    /// What the block at `offset` is and whom it belongs to; reads all metadata through `reader`. Blocks.
    public func explain(offset: Int, _ reader: some ClassifiedReader) throws(StorageError) -> Explanation {
        try ObjectIndex(reader: reader, name: name).explain(offset: offset)
    }

    /// Calls `body` with runs that cover the disk without a gap, in order, each with its class and the inode it
    /// belongs to, owners of data included; reads all metadata through `reader`. Blocks.
    public func forEachRun(
        _ reader: some ClassifiedReader, _ body: (ByteRange, BlockClass, _ owner: UInt64?) -> Void
    ) throws(StorageError) {
        let index = try ObjectIndex(reader: reader, name: name)
        index.forEachRun(in: ByteRange(offset: 0, length: diskSize)) { body($0.range, $0.blockClass, $0.owner) }
    }
}
