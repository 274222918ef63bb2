import CLinux
import Glibc

/// A walk through a whole export, directory by directory.
///
/// A client may make a hundred thousand directories at a depth of thousands: what is remembered of each is its name, and
/// it is opened from the one above.
struct ExportWalk {
    /// Opens as a place in the tree: no permission for the file itself is needed, no device is touched.
    static let pathOnly = linux_o_path

    /// A bound on the entries looked at; a file beyond it is not found.
    private static let maximumEntryCount = 10_000_000
    /// Directories that stay open on the way down, the lowest of those: what is above is opened anew on the way back.
    private static let mostOpen = 64

    let root: ExportRoot

    /// Reports one entry of a directory; false ends the walk.
    typealias Body = (_ entry: DirectoryStream.Entry, _ name: FileName, _ directory: OwnedDescriptor) -> Bool

    /// A directory that was read, somewhere on the way from the export's own to where the walk is.
    private struct Level {
        let name: FileName
        /// Nil when it was closed.
        var directory: OwnedDescriptor?
        /// Directories in it that were not read yet.
        var rest: [FileName] = []
    }

    /// Reports every entry, until `body` returns false.
    func forEachEntry(_ body: Body) {
        guard let top = try? root.open() else { return }
        var levels: [Level] = []
        var entriesLeft = Self.maximumEntryCount
        guard read(top, named: FileName(""), &levels, &entriesLeft, body) else { return }
        while !levels.isEmpty {
            guard let name = levels[levels.count - 1].rest.popLast() else {
                levels.removeLast()
                continue
            }
            guard let parent = lowest(&levels),
                let directory = try? root.openEntry(name, of: parent.rawValue, flags: Self.pathOnly | O_DIRECTORY)
            else { continue }
            guard read(directory, named: name, &levels, &entriesLeft, body) else { return }
        }
    }

    /// Reads `directory`, which is in the lowest of `levels`, and adds it to these if there is more to read in it. Returns
    /// whether to go on.
    private func read(
        _ directory: OwnedDescriptor, named name: FileName, _ levels: inout [Level], _ entriesLeft: inout Int,
        _ body: Body
    ) -> Bool {
        // What cannot be read is left out: the rest of the export is no worse for it.
        guard let directory = try? directory.reopened(O_RDONLY | O_DIRECTORY) else { return true }
        var level = Level(name: name, directory: directory)
        var goesOn = true
        _ = try? DirectoryStream(directory.rawValue).forEach { (entry) throws(DatastoreError) -> Bool in
            guard !entry.isDot else { return true }
            entriesLeft -= 1
            let name = FileName(bytes: entry.name)
            goesOn = body(entry, name, directory) && entriesLeft > 0
            let mayBeDirectory = entry.type == UInt8(DT_DIR) || entry.type == UInt8(DT_UNKNOWN)
            if mayBeDirectory, levels.count < ExportRoot.maximumDepth { level.rest.append(name) }
            return goesOn
        }
        if !level.rest.isEmpty {
            levels.append(level)
            if levels.count > Self.mostOpen { levels[levels.count - 1 - Self.mostOpen].directory = nil }
        }
        return goesOn
    }

    /// The lowest of `levels`, opened anew from the export's own if need be, with those above that may be open; nil, and
    /// nothing more is read there, when it is not where it was.
    private func lowest(_ levels: inout [Level]) -> OwnedDescriptor? {
        if let directory = levels.last?.directory { return directory }
        var directory = try? root.open()
        for index in levels.indices {
            if index > 0, let parent = directory {
                let flags = Self.pathOnly | O_DIRECTORY
                directory = try? root.openEntry(levels[index].name, of: parent.rawValue, flags: flags)
            }
            if index + Self.mostOpen >= levels.count { levels[index].directory = directory }
        }
        if directory == nil { levels[levels.count - 1].rest = [] }
        return directory
    }
}
