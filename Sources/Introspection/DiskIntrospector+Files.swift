import BlockStorage
import GuestFilesystems

/// What the object indexes say of all files at once.
extension DiskIntrospector {
    private struct IsOver: Error {}

    /// Calls `body` with each run of contents of a plain file: the name of its file system's volume, the inode, and the
    /// bytes of the disk; by volume, in the order of the volume's blocks. As the guest's last committed writes have it.
    /// Ends when `body` returns false: of a striped volume there may be no end of runs. Blocks.
    public func forEachContents(
        _ reader: some ClassifiedReader, _ body: (_ volume: String, _ inode: UInt32, ByteRange) -> Bool
    ) {
        var isOver = false
        forEachIndex(reader) { fileSystem, index in
            let blockSize = fileSystem.geometry.blockSize
            index.forEachExtent { block, count, owner in
                guard !isOver else { return }
                let range = ByteRange(offset: Int(block) * blockSize, length: Int(count) * blockSize)
                do throws(IsOver) {
                    try fileSystem.volume.map.forEachDiskRange(of: range) { (range, _) throws(IsOver) in
                        guard body(fileSystem.volume.name, owner, range) else { throw IsOver() }
                    }
                } catch {
                    isOver = true
                }
            }
        }
    }

    /// Calls `body` with each name in guests' directories: the name of the file system's volume, the inode that is named,
    /// and its path; nil where the index has a name that no directory holds. As the guest's last committed writes have
    /// it. Ends when `body` returns false. Blocks.
    public func forEachName(
        _ reader: some ClassifiedReader, _ body: (_ volume: String, _ inode: UInt32, _ path: ByteString?) -> Bool
    ) {
        var goesOn = true
        forEachIndex(reader) { fileSystem, index in
            let volume = fileSystem.volume.name
            var paths: [UInt32: ByteString] = [:]
            index.forEachDirectory { directory, inodes in
                guard goesOn else { return }
                let isRoot = directory == ExtInode.Number.root
                let path = isRoot ? "" : paths[directory] ?? fileSystem.path(of: directory, index)
                var unnamed = inodes
                if let file = try? fileSystem.file(inode: directory) {
                    try? fileSystem.forEachEntry(of: file) { bytes, entry in
                        let name = entry.name(in: bytes)
                        guard inodes.contains(entry.inode), name != ".", name != ".." else { return true }
                        unnamed.remove(entry.inode)
                        let own = path.map { ByteString($0.bytes + "/".utf8 + name.bytes) }
                        if paths.count < Self.pathsKept, index.hasNames(entry.inode) { paths[entry.inode] = own }
                        goesOn = body(volume, entry.inode, own)
                        return goesOn
                    }
                }
                for inode in unnamed.sorted() where goesOn { goesOn = body(volume, inode, nil) }
            }
        }
    }

    /// Paths of directories that are kept for those within.
    private static let pathsKept = 65_536
    /// How often a dump of names may read all that a scan may read: it reads every directory.
    private static let timesRead = 4

    /// Calls `body` with every file system of which an index can be had, and the index, brought up to date.
    private func forEachIndex(_ reader: some ClassifiedReader, _ body: (GuestFileSystem, LiveObjects) -> Void) {
        for number in 0..<state.withLock({ $0.fileSystems.count }) {
            guard let index = currentIndex(of: number, reader),
                let fileSystem = fileSystem(number, reader, times: Self.timesRead)
            else { continue }
            body(fileSystem, index)
        }
    }
}
