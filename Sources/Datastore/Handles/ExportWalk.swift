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
    ///
    /// - Returns: false when the storage failed: what was not reported may be there all the same.
    @discardableResult func forEachEntry(_ body: Body) -> Bool {
        var isWhole = true
        guard let top = reach(&isWhole, { () throws(DatastoreError) in try root.open() }) else { return isWhole }
        var levels: [Level] = []
        var entriesLeft = Self.maximumEntryCount
        guard read(top, named: FileName(""), &levels, &entriesLeft, &isWhole, body) else { return isWhole }
        while !levels.isEmpty {
            guard let name = levels[levels.count - 1].rest.popLast() else {
                levels.removeLast()
                continue
            }
            let flags = Self.pathOnly | O_DIRECTORY
            guard let parent = lowest(&levels, &isWhole),
                let directory = reach(
                    &isWhole,
                    { () throws(DatastoreError) in try root.openEntry(name, of: parent.rawValue, flags: flags) })
            else { continue }
            guard read(directory, named: name, &levels, &entriesLeft, &isWhole, body) else { return isWhole }
        }
        return isWhole
    }

    private static let storageFailures: Set<DatastoreError.Code> = [.io, .storeLost, .retryLater]

    /// What `body` returns; nil when it throws: what may not be read, or has just gone, is left out, the rest of the export
    /// is no worse for it.
    private func reach<Value>(_ isWhole: inout Bool, _ body: () throws(DatastoreError) -> Value) -> Value? {
        do throws(DatastoreError) {
            return try body()
        } catch {
            if Self.storageFailures.contains(error.code) { isWhole = false }
            return nil
        }
    }

    /// Reads `directory`, which is in the lowest of `levels`, and adds it to these if there is more to read in it. Returns
    /// whether to go on.
    private func read(
        _ directory: OwnedDescriptor, named name: FileName, _ levels: inout [Level], _ entriesLeft: inout Int,
        _ isWhole: inout Bool, _ body: Body
    ) -> Bool {
        let reopen = { () throws(DatastoreError) in try directory.reopened(O_RDONLY | O_DIRECTORY) }
        guard let directory = reach(&isWhole, reopen) else { return true }
        var level = Level(name: name, directory: directory)
        var goesOn = true
        _ = reach(&isWhole) { () throws(DatastoreError) in
            try DirectoryStream(directory.rawValue).forEach { (entry) throws(DatastoreError) -> Bool in
                guard !entry.isDot else { return true }
                entriesLeft -= 1
                let name = FileName(bytes: entry.name)
                goesOn = body(entry, name, directory) && entriesLeft > 0
                let mayBeDirectory = entry.type == UInt8(DT_DIR) || entry.type == UInt8(DT_UNKNOWN)
                if mayBeDirectory, levels.count < ExportRoot.maximumDepth { level.rest.append(name) }
                return goesOn
            }
        }
        if !level.rest.isEmpty {
            levels.append(level)
            if levels.count > Self.mostOpen { levels[levels.count - 1 - Self.mostOpen].directory = nil }
        }
        return goesOn
    }

    /// The lowest of `levels`, opened anew from the export's own if need be, with those above that may be open; nil, and
    /// nothing more is read there, when it is not where it was.
    private func lowest(_ levels: inout [Level], _ isWhole: inout Bool) -> OwnedDescriptor? {
        if let directory = levels.last?.directory { return directory }
        var directory = reach(&isWhole) { () throws(DatastoreError) in try root.open() }
        for index in levels.indices {
            if index > 0, let parent = directory {
                let flags = Self.pathOnly | O_DIRECTORY
                let name = levels[index].name
                directory = reach(&isWhole) { () throws(DatastoreError) in
                    try root.openEntry(name, of: parent.rawValue, flags: flags)
                }
            }
            if index + Self.mostOpen >= levels.count { levels[index].directory = directory }
        }
        if directory == nil { levels[levels.count - 1].rest = [] }
        return directory
    }
}
