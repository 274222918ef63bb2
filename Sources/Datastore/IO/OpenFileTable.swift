/// Which files are open, by handle and by inode, and the images that they are part of.
///
/// The entry of a file has the table's only reference to it: when that is the only one at all, no call and no image uses
/// the file, and it can be closed without anybody noticing.
struct OpenFileTable {
    struct Entry {
        var file: OpenFile
        var lastUse: ContinuousClock.Instant
        var handles: Set<FileHandle>
    }

    /// Files of `byIdentity`, whose entries hold them.
    private var byHandle: [FileHandle: Unmanaged<OpenFile>] = [:]
    private var byIdentity: [OpenFile.Identity: Entry] = [:]
    private(set) var sessions: [String: ImageSession] = [:]
    /// Why files are not looked into that seem to be images, by path.
    private(set) var foreign: [String: String] = [:]

    private static let longestForeignList = 10_000

    var count: Int { byIdentity.count }

    /// All files, and when each was used last.
    var files: [(file: OpenFile, lastUse: ContinuousClock.Instant)] { byIdentity.values.map { ($0.file, $0.lastUse) } }

    subscript(handle: FileHandle) -> OpenFile? { byHandle[handle]?.takeUnretainedValue() }

    subscript(identity: OpenFile.Identity) -> OpenFile? { byIdentity[identity]?.file }

    /// Enters the file that is open as `identity`, or else `made`, for `handle`; nil when there is neither.
    mutating func enter(_ made: OpenFile?, _ identity: OpenFile.Identity, for handle: FileHandle?) -> OpenFile? {
        guard let file = byIdentity[identity]?.file ?? made else { return nil }
        byIdentity[identity, default: Entry(file: file, lastUse: .now, handles: [])].lastUse = .now
        if let handle {
            byHandle[handle] = Unmanaged.passUnretained(file)
            byIdentity[identity]?.handles.insert(handle)
        }
        return file
    }

    mutating func noteUse(of identity: OpenFile.Identity) { byIdentity[identity]?.lastUse = .now }

    /// Forgets a file; returns it.
    mutating func remove(_ identity: OpenFile.Identity) -> OpenFile? {
        guard let entry = byIdentity.removeValue(forKey: identity) else { return nil }
        entry.file.noteForgotten()
        for handle in entry.handles { byHandle[handle] = nil }
        return entry.file
    }

    /// When each file was used last.
    var lastUses: [(identity: OpenFile.Identity, lastUse: ContinuousClock.Instant)] {
        byIdentity.map { ($0.key, $0.value.lastUse) }
    }

    /// Forgets those of `candidates` that nobody uses, in their order, `most` of them; returns them.
    mutating func removeUnused(_ candidates: [OpenFile.Identity], most: Int = .max) -> [OpenFile] {
        var removed: [OpenFile] = []
        for identity in candidates {
            guard removed.count < most else { break }
            if isUnused(identity), let file = remove(identity) { removed.append(file) }
        }
        return removed
    }

    /// Whether nobody uses a file, and the log has nothing of it: a write may have gone there since it became a candidate, and
    /// none does from now on. Who closes it must not wait for the destager, for he may be the destager.
    private mutating func isUnused(_ identity: OpenFile.Identity) -> Bool {
        guard let index = byIdentity.index(forKey: identity) else { return false }
        return isKnownUniquelyReferenced(&byIdentity.values[index].file)
            && byIdentity.values[index].file.redirects?.hasAny != true
    }

    // MARK: Images

    mutating func add(_ session: ImageSession) {
        sessions[session.image.path] = session
        for file in session.image.files { foreign[file.path] = nil }
    }

    mutating func forgetForeign(_ path: String) { foreign[path] = nil }

    /// Notes a file that seems to be an image and is not looked into, up to a number that nobody would read; returns whether
    /// that is news.
    mutating func noteForeign(_ path: String, _ reason: String) -> Bool {
        let isNew = foreign[path] != reason
        if foreign[path] != nil || foreign.count < Self.longestForeignList { foreign[path] = reason }
        return isNew
    }

    /// Removes a session, and none of another file that has come to its path.
    mutating func remove(_ session: ImageSession) {
        guard sessions[session.image.path] === session else { return }
        sessions[session.image.path] = nil
    }
}
