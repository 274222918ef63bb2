import BlockStorage
import Glibc
import Logging

/// What keeps two servers from one directory: each would acknowledge what the other does not know of, and write over its
/// registers.
///
/// The state directory has a file that the server locks (flock(2)), with its process number in it. An export's directory
/// is marked, and so are those above it (``DirectoriesAbove``): an export that lies in another server's, or has another
/// server's in it, is found, too (``DirectoryMark``). The kernel ends both with the process.
final class ServerLocks: Sendable {
    static let fileName = "lock"
    /// A predecessor that is ending needs a moment, and so does a program that starts another.
    private static let mostAttempts = 25
    private static let attemptInterval: useconds_t = 20_000
    private static let longestNote = 4096

    /// For all directories together: anybody can mark each of those above an export.
    private static let patience = Duration.seconds(1)

    private let held = Locked<[Int32]>([])
    private let patienceEnds = ContinuousClock.now + ServerLocks.patience
    private let impersonation: Impersonation
    private let ignoresUnseenMarks: Bool
    private let logger: Logger

    /// Locks the state directory and the exports, or throws whose they are.
    init(
        _ state: StateDirectory, _ exports: [ExportRoot], _ impersonation: Impersonation, ignoresUnseenMarks: Bool,
        _ logger: Logger
    ) throws(DatastoreError) {
        self.impersonation = impersonation
        self.ignoresUnseenMarks = ignoresUnseenMarks
        self.logger = logger
        do throws(DatastoreError) {
            try lock(state, serving: exports.map(\.export.path))
            for export in exports { try mark(export) }
        } catch {
            release()
            throw error
        }
    }

    deinit { release() }

    /// Lets others have the directories.
    func release() {
        let descriptors = held.withLock { held in
            defer { held = [] }
            return held
        }
        for descriptor in descriptors {
            // Closing alone is not enough while a child that is about to run another program has it, too.
            flock(descriptor, LOCK_UN)
            DirectoryMark.clear(on: descriptor)
            close(descriptor)
        }
    }

    private func lock(_ state: StateDirectory, serving paths: [String]) throws(DatastoreError) {
        let path = "\(state.path)/\(Self.fileName)"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw DatastoreError.lastSystemError(path) }
        guard try take(descriptor, path) else {
            var note = [UInt8](repeating: 0, count: Self.longestNote)
            note.removeLast(note.count - max(0, pread(descriptor, &note, note.count, 0)))
            close(descriptor)
            throw DatastoreError(
                .access,
                """
                state directory \(state.path): is in use by \(note.isEmpty ? "another server" : ByteString(note).description); \
                stop that one, or give this one a directory of its own with --state
                """)
        }
        let note = Array("process \(getpid()), which serves \(paths.joined(separator: ", "))".utf8)
        guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, note, note.count, 0) == note.count else {
            throw DatastoreError.lastSystemError(path)
        }
    }

    /// Takes the lock and keeps the descriptor; false when another server has it.
    private func take(_ descriptor: Int32, _ path: String) throws(DatastoreError) -> Bool {
        for attempt in 0..<Self.mostAttempts {
            if attempt > 0 { usleep(Self.attemptInterval) }
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
                held.withLock { $0.append(descriptor) }
                return true
            }
            switch errno {
            case EWOULDBLOCK, EINTR: continue
            case ENOLCK, EOPNOTSUPP, ENOSYS:
                logger.warning(
                    "\(path): cannot be locked here: see to it that no second server has this state directory")
                held.withLock { $0.append(descriptor) }
                return true
            default:
                defer { close(descriptor) }
                throw DatastoreError.lastSystemError("lock \(path)")
            }
        }
        return false
    }

    private func mark(_ export: ExportRoot) throws(DatastoreError) {
        let path = export.export.path
        let descriptor = openat(export.descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw DatastoreError.lastSystemError("export \(path)") }
        held.withLock { $0.append(descriptor) }
        if let holder = try mark(descriptor, as: export.export.isReadOnly ? .readOnly : .writable, path, for: export) {
            throw DatastoreError(
                .access,
                "export \(path): \(holder.name) serves it, or a directory in it; two servers must not: \(holder.advice)"
            )
        }
        let above = DirectoriesAbove(export)
        held.withLock { $0 += above.descriptors }
        if !above.reachesRoot {
            logger.notice(
                "export \(path): only a part of its file system is mounted here: servers of directories above it are not found"
            )
        }
        for descriptor in above.descriptors {
            let ancestor = OwnedDescriptor.path(of: descriptor).map { ByteString($0).description } ?? "a directory"
            if let holder = try mark(descriptor, as: .above, ancestor, for: export) {
                throw DatastoreError(
                    .access,
                    "export \(path): lies in \(ancestor), which \(holder.name) serves; two servers must not: \(holder.advice)"
                )
            }
        }
    }

    /// Marks a directory that is held, or returns whose mark excludes that, and what to do about it.
    private func mark(
        _ descriptor: Int32, as mark: DirectoryMark, _ path: String, for export: ExportRoot
    ) throws(DatastoreError) -> (name: String, advice: String)? {
        for attempt in 1...Self.mostAttempts {
            guard mark.set(on: descriptor) else {
                guard [ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL].contains(errno) else {
                    throw DatastoreError.lastSystemError("lock \(path)")
                }
                logger.warning("\(path): cannot be locked here: see to it that no second server serves it")
                return nil
            }
            // Marked first and looked at then: of two that start at once, one at the least sees the other.
            guard mark.isExcluded(on: descriptor) else { return nil }
            guard attempt < Self.mostAttempts, attempt == 1 || patienceEnds > .now else { break }
            DirectoryMark.clear(on: descriptor)
            usleep(Self.attemptInterval + useconds_t.random(in: 0..<Self.attemptInterval))
        }
        let holders = MarkHolders(
            of: descriptor, mark.excluded, export: export.descriptor, impersonation,
            strangersUntil: patienceEnds + Self.patience)
        if let server = holders.server { return (server, "stop one of them, or kill that process if it is no server") }
        guard holders.areAllSeen || ignoresUnseenMarks else {
            let beside = holders.stranger.map { " (besides \($0))" } ?? ""
            return (
                "a process that cannot be seen from here\(beside)",
                """
                stop it; a server of root's, outside of any container, sees whose it is; if there is no other server, go on \
                with --ignore-unseen-marks
                """
            )
        }
        let stranger = holders.stranger ?? "somebody who cannot be seen"
        let reason =
            holders.areAllSeen
            ? "is no server that could do harm here" : "--ignore-unseen-marks says that there is no other"
        logger.warning("\(path): \(stranger) has locked it as a server would, but \(reason): going on")
        return nil
    }
}
