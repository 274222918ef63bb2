import CLinux
import Glibc

/// A walk through a whole export, directory by directory.
struct ExportWalk {
    /// Opens as a place in the tree: no permission for the file itself is needed, no device is touched.
    static let pathOnly = linux_o_path

    /// A bound on the entries looked at; a file beyond it is not found.
    private static let maximumEntryCount = 10_000_000

    let root: ExportRoot

    /// Reports every entry, until `body` returns false.
    func forEachEntry(
        _ body: (_ entry: DirectoryStream.Entry, _ name: FileName, _ directory: OwnedDescriptor) -> Bool
    ) {
        var pending: [[FileName]] = [[]]
        var entryCount = 0
        var isDone = false
        while !isDone, let path = pending.popLast() {
            guard let directory = openDirectory(path) else { continue }
            // What cannot be read is left out: the rest of the export is no worse for it.
            _ = try? DirectoryStream(directory.rawValue).forEach { (entry) throws(DatastoreError) -> Bool in
                guard !entry.isDot else { return true }
                entryCount += 1
                let name = FileName(bytes: entry.name)
                isDone = !body(entry, name, directory) || entryCount == Self.maximumEntryCount
                let mayBeDirectory = entry.type == UInt8(DT_DIR) || entry.type == UInt8(DT_UNKNOWN)
                if mayBeDirectory, path.count < ExportRoot.maximumDepth { pending.append(path + [name]) }
                return !isDone
            }
        }
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
