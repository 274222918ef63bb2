import BlockStorage
import Glibc

/// What tells a file from any that had its inode number before: when it was made.
///
/// A file system that keeps no birth times leaves the inode number alone, and a handle may then name the file that
/// took a removed file's number.
struct InodeIdentity: Hashable, Sendable {
    let inode: UInt64
    let birthTime: FileTime?
}

/// Finds files by inode number where the kernel's handles cannot be used: without `CAP_DAC_READ_SEARCH`, or on a
/// file system that has none (overlayfs, hostfs).
///
/// A handle then holds inode number and birth time. The table knows under which name in which directory each inode
/// was seen when its handle was issued; opening follows the names from the export's root and checks that number and
/// birth time are the file's. When that fails, because the server was started anew or somebody renamed behind its
/// back, the whole export is walked and the table filled from it, see ``InodeSearch``, so that handles outlive both.
/// What a walk did not find is stale, a file in a directory that the server's user may enter but not list among it, and
/// is remembered as such for a while.
final class InodeTable: Sendable {
    private struct Place {
        let parent: UInt64
        let name: FileName
    }

    private struct State {
        var places: [UInt64: Place] = [:]
        var absent: [InodeIdentity: ContinuousClock.Instant] = [:]
        /// Whether the last walk could read all that it came to.
        var isWhole = true
    }

    /// The most names that are kept, about 200 MB; beyond it the table starts anew, and walks fill it.
    private static let maximumCount = 1_000_000
    private static let maximumAbsentCount = 10_000
    private static let absenceIsTrusted = Duration.seconds(5)

    private let state = Locked(State())
    private let search: InodeSearch

    /// An empty table; a call waits up to `patience` for a walk, and its client asks again then.
    init(patience: Duration) {
        search = InodeSearch(patience: patience)
    }

    /// Ends a walk that is under way; nothing is found by walks after that.
    func stop() { search.stop() }

    /// Notes that the entry `name` of the directory `parent` is `inode`.
    func record(_ inode: UInt64, parent: UInt64, name: FileName) {
        state.withLock { state in
            if state.places.count >= Self.maximumCount { state.places.removeAll(keepingCapacity: true) }
            state.places[inode] = Place(parent: parent, name: name)
        }
    }

    /// Forgets the entry `name` of `parent`, which is gone; another name of the same file may be found by a walk.
    func forget(_ inode: UInt64, parent: UInt64, name: FileName) {
        state.withLock { state in
            guard let place = state.places[inode], place.parent == parent, place.name == name else { return }
            state.places[inode] = nil
        }
    }

    /// Notes that the file is gone with its last name.
    func recordAbsence(of identity: InodeIdentity) {
        state.withLock { state in
            if state.absent.count >= Self.maximumAbsentCount { state.absent.removeAll() }
            state.absent[identity] = .now
        }
    }

    /// Opens the file as a path only (`O_PATH`); throws `stale` when the export does not have it any more, `retryLater`
    /// while it is searched for, `storeLost` or `io` when it cannot be: that proves nothing (invariant 11).
    func open(_ identity: InodeIdentity, in root: ExportRoot) throws(DatastoreError) -> OwnedDescriptor {
        if let found = openByTable(identity, in: root) { return found }
        guard !isKnownAbsent(identity) else { throw Self.stale }
        try root.checkStore()
        search.wait(for: identity) { [self] sought, isStopped in find(sought, in: root, unless: isStopped) }
        if let found = openByTable(identity, in: root) { return found }
        guard !isKnownAbsent(identity) else { throw Self.stale }
        try root.checkStore()
        guard state.withLock({ $0.isWhole }) else {
            throw DatastoreError(.io, "not all of the export could be searched for the file")
        }
        throw DatastoreError(.retryLater, "the file is being searched for")
    }

    /// Fills the table from the whole export, or until all of `sought` are found; notes those that are not there.
    private func find(_ sought: Set<InodeIdentity>, in root: ExportRoot, unless isStopped: () -> Bool) {
        // An earlier walk may have come by them.
        var missing = Dictionary(grouping: sought.filter { openByTable($0, in: root) == nil }, by: \.inode)
        guard !missing.isEmpty else { return }
        let isWhole = ExportWalk(root: root).forEachEntry { entry, name, directory in
            record(entry.inode, parent: directory.inode, name: name)
            if let candidates = missing[entry.inode],
                let file = try? root.openEntry(name, of: directory.rawValue, flags: ExportWalk.pathOnly)
            {
                let others = candidates.filter { !file.isFile($0) }
                missing[entry.inode] = others.isEmpty ? nil : others
            }
            return !missing.isEmpty && !isStopped()
        }
        guard !isStopped() else { return }
        state.withLock { $0.isWhole = isWhole }
        guard isWhole else { return }
        for identity in missing.values.joined() { recordAbsence(of: identity) }
    }

    private static let stale = DatastoreError(.stale, "the file is gone")

    private func isKnownAbsent(_ identity: InodeIdentity) -> Bool {
        state.withLock { state in
            guard let since = state.absent[identity] else { return false }
            if since.duration(to: .now) < Self.absenceIsTrusted { return true }
            state.absent[identity] = nil
            return false
        }
    }

    private func openByTable(_ identity: InodeIdentity, in root: ExportRoot) -> OwnedDescriptor? {
        guard let names = names(from: root, to: identity.inode), var file = try? root.open() else { return nil }
        for name in names {
            guard let entry = try? root.openEntry(name, of: file.rawValue, flags: ExportWalk.pathOnly) else {
                return nil
            }
            file = entry
        }
        return file.isFile(identity) ? file : nil
    }

    /// The names that lead from the export's root to `inode` as far as the table knows.
    private func names(from root: ExportRoot, to inode: UInt64) -> [FileName]? {
        state.withLock { state in
            var names: [FileName] = []
            var inode = inode
            while inode != root.inode {
                guard names.count < ExportRoot.maximumDepth, let place = state.places[inode] else { return nil }
                names.append(place.name)
                inode = place.parent
            }
            return names.reversed()
        }
    }
}

extension OwnedDescriptor {
    /// What the file is known by without kernel handles.
    var identity: InodeIdentity { InodeIdentity(inode: inode, birthTime: birthTime) }

    func isFile(_ identity: InodeIdentity) -> Bool {
        inode == identity.inode && (identity.birthTime == nil || birthTime == identity.birthTime)
    }
}
