import CLinux
import Glibc

/// A search of a whole export for one file, directory by directory.
struct ExportWalk {
    /// Opens as a place in the tree: no permission for the file itself is needed, no device is touched.
    static let pathOnly = linux_o_path

    /// A bound on the entries looked at; a file beyond it is not found.
    private static let maximumEntryCount = 10_000_000

    let root: ExportRoot

    /// Opens the file with `identity` as a path only, or returns nil; reports every entry on the way.
    func find(
        _ identity: InodeIdentity, report: (_ inode: UInt64, _ parent: UInt64, _ name: FileName) -> Void
    ) -> OwnedDescriptor? {
        var pending: [[FileName]] = [[]]
        var entryCount = 0
        var found: OwnedDescriptor?
        while found == nil, let path = pending.popLast(), entryCount < Self.maximumEntryCount {
            guard let directory = openDirectory(path) else { continue }
            // What cannot be read is left out: the rest of the export is no worse for it.
            _ = try? DirectoryStream(directory.rawValue).forEach { (entry) throws(DatastoreError) -> Bool in
                guard !entry.isDot else { return true }
                entryCount += 1
                let name = FileName(bytes: entry.name)
                report(entry.inode, directory.inode, name)
                if entry.inode == identity.inode {
                    let file = try? root.openEntry(name, of: directory.rawValue, flags: Self.pathOnly)
                    if let file, file.isFile(identity) { found = file }
                }
                let mayBeDirectory = entry.type == UInt8(DT_DIR) || entry.type == UInt8(DT_UNKNOWN)
                if mayBeDirectory, path.count < ExportRoot.maximumDepth { pending.append(path + [name]) }
                return found == nil && entryCount < Self.maximumEntryCount
            }
        }
        return found
    }

    private func openDirectory(_ path: [FileName]) -> OwnedDescriptor? {
        guard var directory = try? root.open() else { return nil }
        for name in path {
            let flags = Self.pathOnly | O_DIRECTORY
            guard let next = try? root.openEntry(name, of: directory.rawValue, flags: flags) else { return nil }
            directory = next
        }
        return try? directory.reopened(O_RDONLY | O_DIRECTORY)
    }
}
