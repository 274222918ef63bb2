import BlockStorage
import Glibc

/// The directory in which the server keeps what must outlive it: the key of its file handles,
/// and which images have blocks in the redirect log.
///
/// It is the one that is configured (`--state`), else the first of `$STATE_DIRECTORY`, which systemd sets, else
/// `$XDG_STATE_HOME/introspect`, else for root `/var/lib/introspect` and for other users
/// `~/.local/state/introspect`. It is made with mode 0700 when it is missing.
struct StateDirectory {
    /// The absolute path without symbolic links.
    let path: String

    /// Finds the directory and makes it where it is missing.
    init(configured: String?) throws(DatastoreError) {
        let wanted: String
        if let configured { wanted = configured } else { wanted = try Self.defaultPath() }
        try Self.make(wanted)
        guard let resolved = realpath(wanted, nil) else {
            throw DatastoreError.lastSystemError("state directory \(wanted)")
        }
        defer { free(resolved) }
        path = String(cString: resolved)
        try Self.checkOwners(of: path)
    }

    /// Throws when another user could read or replace what is in the directory: who has the handle key makes handles of any
    /// file.
    private static func checkOwners(of path: String) throws(DatastoreError) {
        let status = try status(of: path)
        guard status.st_mode & 0o077 == 0, isTrusted(status.st_uid) else {
            throw DatastoreError(
                .access,
                """
                state directory \(path): belongs to user \(status.st_uid) and has mode \
                \(String(status.st_mode & 0o7777, radix: 8)), so that others could forge file handles; give it to user \
                \(geteuid()) with chown, see that nobody else has put anything there, and chmod 700 it, or name another with \
                --state
                """)
        }
        var parent = path
        while let slash = parent.lastIndex(of: "/"), parent != "/" {
            parent = slash == parent.startIndex ? "/" : String(parent[..<slash])
            let status = try Self.status(of: parent)
            // In a sticky directory nobody renames what belongs to another.
            guard isTrusted(status.st_uid), status.st_mode & 0o022 == 0 || status.st_mode & S_ISVTX != 0 else {
                throw DatastoreError(
                    .access,
                    """
                    state directory \(path): user \(status.st_uid) or others could put another in its place, since they may \
                    write to \(parent) (mode \(String(status.st_mode & 0o7777, radix: 8))); chmod go-w \(parent), or name \
                    another state directory with --state
                    """)
            }
        }
    }

    private static func status(of path: String) throws(DatastoreError) -> stat {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw DatastoreError.lastSystemError("state directory \(path)") }
        return status
    }

    private static func isTrusted(_ user: uid_t) -> Bool { user == 0 || user == geteuid() }

    /// Reads `name`, or writes what `content` returns there first, durably; several servers may try at once, and all
    /// get the same bytes.
    func readOrCreate(_ name: String, content: () -> [UInt8]) throws(DatastoreError) -> [UInt8] {
        let file = "\(path)/\(name)"
        if let bytes = try read(file) { return bytes }
        try create(file, content())
        guard let bytes = try read(file) else { throw DatastoreError(.serverFault, "\(file): vanished") }
        return bytes
    }

    /// The bytes of `name`, or nil when there is no such file.
    func read(name: String) throws(DatastoreError) -> [UInt8]? {
        try read("\(path)/\(name)")
    }

    /// Gives `name` the bytes `content` at one stroke, durably.
    func replace(_ name: String, with content: [UInt8]) throws(DatastoreError) {
        let file = "\(path)/\(name)"
        let temporary = try writeBeside(file, content)
        guard rename(temporary, file) == 0 else {
            defer { unlink(temporary) }
            throw DatastoreError.lastSystemError(file)
        }
        try sync()
    }

    /// The bytes of `file`, or nil when there is none; throws when others may read it.
    private func read(_ file: String) throws(DatastoreError) -> [UInt8]? {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            guard errno == ENOENT else { throw DatastoreError.lastSystemError(file) }
            return nil
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw DatastoreError.lastSystemError(file) }
        guard status.st_mode & 0o077 == 0, Self.isTrusted(status.st_uid) else {
            throw DatastoreError(
                .serverFault,
                "\(file): others may read it: its mode must be 0600, and its owner user \(geteuid()) or root")
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw DatastoreError(.serverFault, "\(file): is no file") }
        var bytes = [UInt8](repeating: 0, count: max(0, status.st_size))
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count == bytes.count else { throw DatastoreError.lastSystemError(file) }
        return bytes
    }

    /// Writes a file beside `file` and links it there, so that `file` is never seen half-written.
    private func create(_ file: String, _ content: [UInt8]) throws(DatastoreError) {
        let temporary = try writeBeside(file, content)
        defer { unlink(temporary) }
        guard link(temporary, file) == 0 || errno == EEXIST else { throw DatastoreError.lastSystemError(file) }
        try sync()
    }

    /// Makes a file with a name like that of `file`, and its bytes durable; returns its path.
    private func writeBeside(_ file: String, _ content: [UInt8]) throws(DatastoreError) -> String {
        LockRank.willWait(for: "a flush")
        let temporary = "\(file).\(getpid()).\(UInt32.random(in: 0 ... .max))"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw DatastoreError.lastSystemError(temporary) }
        defer { close(descriptor) }
        guard write(descriptor, content, content.count) == content.count, fsync(descriptor) == 0 else {
            defer { unlink(temporary) }
            throw DatastoreError.lastSystemError(temporary)
        }
        return temporary
    }

    /// Makes the names in the directory durable.
    private func sync() throws(DatastoreError) {
        let directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw DatastoreError.lastSystemError(path) }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw DatastoreError.lastSystemError(path) }
    }

    static func defaultPath() throws(DatastoreError) -> String {
        if let directories = variable("STATE_DIRECTORY"), let first = directories.split(separator: ":").first {
            return String(first)
        }
        if let directory = variable("XDG_STATE_HOME") { return "\(directory)/introspect" }
        if geteuid() == 0 { return "/var/lib/introspect" }
        if let home = variable("HOME") { return "\(home)/.local/state/introspect" }
        throw DatastoreError(.serverFault, "no state directory: name one, or set HOME")
    }

    private static func variable(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    private static func make(_ path: String) throws(DatastoreError) {
        var part = path.hasPrefix("/") ? "/" : ""
        for component in path.split(separator: "/") {
            part += part.isEmpty || part.hasSuffix("/") ? component : "/" + component
            guard mkdir(part, 0o700) == 0 || errno == EEXIST else {
                throw DatastoreError.lastSystemError("state directory \(path)")
            }
        }
    }
}
