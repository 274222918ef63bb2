import BlockStorage
import CLinux
import Glibc
import Logging

/// What keeps two servers from one directory: each would acknowledge what the other does not know of, and write over its
/// registers.
///
/// The state directory has a file that the server locks, with its process number in it. An export's directory is locked
/// itself, exclusively unless clients may change nothing, and the directories above it are locked in common: so an export
/// that lies in another server's, or has another server's in it, is found, too. The kernel ends a lock with its process
/// (flock(2)).
final class ServerLocks: Sendable {
    private static let fileName = "lock"
    /// A predecessor that is ending needs a moment, and so does a program that starts another.
    private static let mostAttempts = 25
    private static let attemptInterval: useconds_t = 20_000
    private static let longestNote = 4096

    private let held = Locked<[Int32]>([])
    private let logger: Logger

    /// Locks the state directory and the exports, or throws whose they are.
    init(_ state: StateDirectory, _ exports: [ExportRoot], _ logger: Logger) throws(DatastoreError) {
        self.logger = logger
        do throws(DatastoreError) {
            try lock(state, serving: exports.map(\.export.path))
            for export in exports { try lock(export) }
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
            close(descriptor)
        }
    }

    private func lock(_ state: StateDirectory, serving paths: [String]) throws(DatastoreError) {
        let path = "\(state.path)/\(Self.fileName)"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw DatastoreError.lastSystemError(path) }
        guard try take(LOCK_EX, descriptor, path) else {
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

    private func lock(_ export: ExportRoot) throws(DatastoreError) {
        let path = export.export.path
        let descriptor = openat(export.descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw DatastoreError.lastSystemError("export \(path)") }
        guard try take(export.export.isReadOnly ? LOCK_SH : LOCK_EX, descriptor, path) else {
            defer { close(descriptor) }
            throw DatastoreError(
                .access,
                "export \(path): \(holder(of: descriptor)) serves it, or a directory in it; two servers must not")
        }
        var ancestor = path
        while let slash = ancestor.lastIndex(of: "/"), ancestor != "/" {
            ancestor = slash == ancestor.startIndex ? "/" : String(ancestor[..<slash])
            let descriptor = open(ancestor, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
            // What the server may not open, it cannot lock; another that serves it may have more rights.
            guard descriptor >= 0 else { continue }
            guard try take(LOCK_SH, descriptor, ancestor) else {
                defer { close(descriptor) }
                throw DatastoreError(
                    .access,
                    "export \(path): lies in \(ancestor), which \(holder(of: descriptor)) serves; two servers must not")
            }
        }
    }

    /// Takes a lock and keeps the descriptor; false when another has one that excludes it.
    private func take(_ operation: Int32, _ descriptor: Int32, _ path: String) throws(DatastoreError) -> Bool {
        for attempt in 0..<Self.mostAttempts {
            if attempt > 0 { usleep(Self.attemptInterval) }
            if flock(descriptor, operation | LOCK_NB) == 0 {
                held.withLock { $0.append(descriptor) }
                return true
            }
            switch errno {
            case EWOULDBLOCK, EINTR: continue
            case ENOLCK, EOPNOTSUPP, ENOSYS:
                logger.warning("\(path): cannot be locked here: see to it that no second server serves it")
                held.withLock { $0.append(descriptor) }
                return true
            default:
                defer { close(descriptor) }
                throw DatastoreError.lastSystemError("lock \(path)")
            }
        }
        return false
    }

    /// The process that has a lock of an open directory, as far as the kernel tells (proc(5), `/proc/locks`).
    private func holder(of descriptor: Int32) -> String {
        var status = stat()
        guard fstat(descriptor, &status) == 0, let locks = Self.read("/proc/locks") else { return "another process" }
        let inode = ":\(status.st_ino)"
        for line in locks.split(separator: UInt8(ascii: "\n")) {
            let words = String(decoding: line, as: UTF8.self).split(separator: " ")
            guard words.count == 8, words[1] == "FLOCK", words[5].hasSuffix(inode), let process = Int32(words[4]),
                process > 0
            else { continue }
            let command = Self.read("/proc/\(process)/cmdline")?.map { $0 == 0 ? UInt8(ascii: " ") : $0 } ?? []
            return "process \(process) (\(ByteString(command).description.trimmed))"
        }
        return "another process"
    }

    private static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: longestNote)
        while bytes.count < 1 << 20 {
            let count = Glibc.read(descriptor, &part, part.count)
            guard count > 0 else { break }
            bytes += part[..<count]
        }
        return bytes
    }
}

extension String {
    /// Without what stands at the end for nothing, and not longer than a line.
    fileprivate var trimmed: Substring {
        let line = prefix(200)
        return line.lastIndex { $0 != " " }.map { line[...$0] } ?? ""
    }
}
