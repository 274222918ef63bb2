import BlockStorage
import GuestFilesystems

/// What the object indexes say of all files at once.
extension DiskIntrospector {
    /// Calls `body` with each run of contents of a plain file: the name of its file system's volume, the inode, and the
    /// bytes of the disk; by volume, in the order of the volume's blocks. As the guest's last committed writes have it.
    /// Blocks.
    public func forEachContents(
        _ reader: some ClassifiedReader, _ body: (_ volume: String, _ inode: UInt32, ByteRange) -> Void
    ) {
        forEachIndex(reader) { fileSystem, _, index in
            let blockSize = fileSystem.geometry.blockSize
            index.forEachExtent { block, count, owner in
                let range = ByteRange(offset: Int(block) * blockSize, length: Int(count) * blockSize)
                fileSystem.volume.map.forEachDiskRange(of: range) { range, _ in
                    body(fileSystem.volume.name, owner, range)
                }
            }
        }
    }

    /// Calls `body` with each name in guests' directories: the name of the file system's volume, the inode that is named,
    /// and its path; nil where the index has a name that no directory holds. As the guest's last committed writes have
    /// it. Blocks.
    public func forEachName(
        _ reader: some ClassifiedReader, _ body: (_ volume: String, _ inode: UInt32, _ path: ByteString?) -> Void
    ) {
        forEachIndex(reader) { fileSystem, number, index in
            var inodes: [UInt32: Set<UInt32>] = [:]
            index.forEachName { inodes[$1, default: []].insert($0) }
            for (directory, inodes) in inodes.sorted(by: { $0.key < $1.key }) {
                let path =
                    directory == ExtInode.Number.root
                    ? "" : path(of: directory, in: number, fileSystem, reader)
                let file = try? fileSystem.file(inode: directory)
                let entries = file.flatMap { try? fileSystem.entries(of: $0) } ?? []
                var unnamed = inodes
                for entry in entries where inodes.contains(entry.inode) && entry.name != "." && entry.name != ".." {
                    unnamed.remove(entry.inode)
                    body(
                        fileSystem.volume.name, entry.inode,
                        path.map { ByteString($0.bytes + "/".utf8 + entry.name.bytes) })
                }
                for inode in unnamed.sorted() { body(fileSystem.volume.name, inode, nil) }
            }
        }
    }

    /// Calls `body` with every file system of which an index can be had, its number, and the index, brought up to date.
    private func forEachIndex(
        _ reader: some ClassifiedReader, _ body: (GuestFileSystem, _ number: Int, LiveObjects) -> Void
    ) {
        for number in 0..<state.withLock({ $0.fileSystems.count }) {
            let index = objects.withLock { indexes in
                update(&indexes, number: number, reader)
                return indexes.of(number)
            }
            if let index, let fileSystem = fileSystem(number, reader) { body(fileSystem, number, index) }
        }
    }
}
