import GuestFilesystems

/// What an object index may take: real files and names are stored, and what is found beyond that are holes, or the same
/// blocks again.
struct ObjectLimits {
    /// Bytes of the index.
    let memory: Int
    /// Blocks that are read for an update.
    let blocks: Int

    /// Blocks that an update may read more than there are in the file system.
    private static let readAllowance = 65_536

    /// Those for a file system on the disk that `reader` reads.
    init(of reader: some ClassifiedReader, _ geometry: ExtGeometry) {
        // An extent of 4 KiB takes 28 bytes, a name with an inode of its own a sixteenth of what is stored of them.
        memory = min(max(1 << 20, reader.size / 1000), (32 << 20) + reader.storedBytes / 16)
        blocks = min(
            Int(clamping: geometry.endBlock) + Self.readAllowance,
            ScanOptions(storedBytes: reader.storedBytes).readLimit / geometry.blockSize)
    }
}
