import BlockStorage
import GuestFilesystems

/// Finds the path of an inode by reading all directories once, in the order of the disk.
struct PathFinder {
    private struct Link {
        var parent: UInt32
        var name: ByteString
    }

    /// Directories below directories that are followed; deeper ones have no path.
    private static let depthLimit = 1024

    private let found: ScannedFileSystem
    private let reader: VolumeReader

    init(_ found: ScannedFileSystem, _ disk: any ClassifiedReader) {
        self.found = found
        reader = VolumeReader(volume: found.volume, disk: disk)
    }

    /// A path of `inode` from `/`; nil when no directory leads to it. What cannot be read is passed over.
    func path(of inode: UInt32) -> ByteString? {
        guard inode != ExtInode.Number.root else { return "/" }
        let links = links(to: inode)
        var names: [ByteString] = []
        var next = inode
        while next != ExtInode.Number.root {
            guard let link = links[next], names.count < Self.depthLimit else { return nil }
            names.append(link.name)
            next = link.parent
        }
        return ByteString(path: names.reversed())
    }

    /// How directories, and `inode`, are reached: for each the first entry that names it.
    private func links(to inode: UInt32) -> [UInt32: Link] {
        let blockSize = found.geometry.blockSize
        let runs = found.runs.filter { $0.blockClass == .directory }
        let wanted = Set(runs.lazy.map(\.owner)).union([inode])
        let buffer = AlignedBuffer(count: max(1 << 20, blockSize))
        let limit = UInt64(buffer.count / blockSize)
        var links: [UInt32: Link] = [:]
        for run in runs {
            var block = run.block
            while block < run.end {
                let count = min(limit, run.end - block)
                let range = ByteRange(offset: Int(block) * blockSize, length: Int(count) * blockSize)
                let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<range.length])
                if (try? reader.read(range, as: .directory, into: bytes)) != nil {
                    for start in stride(from: 0, to: range.length, by: blockSize) {
                        collect(
                            UnsafeRawBufferPointer(rebasing: bytes[start..<start + blockSize]).bytes,
                            directory: run.owner, wanted, &links)
                    }
                }
                block += count
            }
        }
        return links
    }

    private func collect(
        _ bytes: RawSpan, directory: UInt32, _ wanted: Set<UInt32>, _ links: inout [UInt32: Link]
    ) {
        // A block that is damaged further on still names what comes before.
        try? ExtDirectoryBlock.forEachEntry(
            in: bytes, hasFileTypes: found.geometry.superblock.hasFileTypes
        ) { entry in
            guard wanted.contains(entry.inode), links[entry.inode] == nil else { return true }
            let name = entry.name(in: bytes)
            if name != ".", name != ".." { links[entry.inode] = Link(parent: directory, name: name) }
            return true
        }
    }
}
