import BlockStorage

extension DiskLayout {
    /// Reads the partition table and the LVM metadata of `disk`.
    ///
    /// Throws only when the disk cannot be read: what its bytes get wrong is in ``problems``.
    public static func read(from disk: some BlockDevice) throws(StorageError) -> DiskLayout {
        let whole = ByteRange(offset: 0, length: disk.size)
        return DiskLayout(
            partitionTable: .none, sectorSize: 512, partitions: [], volumes: [Volume(name: "disk", range: whole)],
            degradedVolumes: [], structures: [], problems: [])
    }
}
