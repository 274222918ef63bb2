import CLinux
import CNettle
import Glibc

/// An export with its directory open, and what its file system can do.
final class ExportRoot: Sendable {
    let export: Export
    /// The path as it was configured, absolute: clients may mount that, too.
    let configuredPath: String
    /// The directory, open for reading: the kernel opens handles relative to it.
    let descriptor: Int32
    let device: UInt64
    let inode: UInt64
    /// Whether new handles are the kernel's, or inode numbers with birth times.
    let issuesKernelHandles: Bool
    let inodes: InodeTable
    let limits: FileSystemLimits
    let callerLimits: CallerLimits
    /// Whether a directory's fsync makes the new objects in it durable as well: all metadata is in one journal.
    let hasOneJournal: Bool

    /// Opens the directory that `configuration` names.
    init(_ configuration: DatastoreConfiguration.Export, scheme: DatastoreConfiguration.HandleScheme)
        throws(DatastoreError)
    {
        let path = configuration.path
        guard let resolved = realpath(path, nil) else { throw DatastoreError.lastSystemError("export \(path)") }
        defer { free(resolved) }
        let canonical = String(cString: resolved)
        let descriptor = Glibc.open(canonical, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw DatastoreError.lastSystemError("export \(canonical)") }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let error = DatastoreError.lastSystemError("export \(canonical)")
            close(descriptor)
            throw error
        }
        export = Export(
            id: Self.identifier(of: canonical), path: canonical, isReadOnly: configuration.isReadOnly,
            squashesRoot: configuration.squashesRoot, allowedClients: configuration.allowedClients)
        self.descriptor = descriptor
        configuredPath = Self.absolute(path)
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        issuesKernelHandles = scheme == .automatic && KernelHandle.canBeOpened(under: descriptor)
        inodes = InodeTable()
        limits = FileSystemLimits(of: descriptor)
        callerLimits = CallerLimits(of: descriptor)
        hasOneJournal = Journal.holdsAllMetadata(of: descriptor, device: UInt64(status.st_dev))
    }

    deinit {
        close(descriptor)
    }

    /// Throws `readOnly` when clients may not change anything.
    func checkWritable() throws(DatastoreError) {
        guard !export.isReadOnly else { throw DatastoreError(.readOnly, "\(export.path) is exported read-only") }
    }

    /// The export's directory, as `open` gives it for any other.
    func open() throws(DatastoreError) -> OwnedDescriptor {
        let copy = openat(descriptor, ".", linux_o_path | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0 else { throw DatastoreError.lastSystemError("open \(export.path)") }
        return try OwnedDescriptor(taking: copy, in: self)
    }

    /// Makes every change of metadata durable that came before, by syncing a nameless new file: its creation comes
    /// last in the one journal. Returns false when no such file can be made.
    func commitJournal() throws(DatastoreError) -> Bool {
        let file = openat(descriptor, ".", linux_o_tmpfile | O_WRONLY | O_CLOEXEC, 0)
        guard file >= 0 else { return false }
        defer { close(file) }
        guard fsync(file) == 0 else { throw DatastoreError.lastSystemError("sync") }
        return true
    }

    func isRoot(_ file: OwnedDescriptor) -> Bool {
        file.inode == inode && file.device == device
    }

    /// Opens the entry `name` of `directory` as it is, following no symbolic link and entering no other file system.
    ///
    /// A file system that is mounted in the export is not served: its mount point answers `access`.
    func openEntry(
        _ name: FileName, of directory: Int32, flags: Int32, mode: UInt32 = 0
    ) throws(DatastoreError) -> OwnedDescriptor {
        let resolve = linux_resolve_beneath | linux_resolve_no_symlinks | linux_resolve_no_xdev
        // openat2 refuses flags that mean nothing for a path descriptor.
        let terminal = flags & linux_o_path == 0 ? O_NOCTTY : 0
        let entry = name.withCString {
            linux_openat2(directory, $0, flags | O_NOFOLLOW | O_CLOEXEC | terminal, mode, resolve)
        }
        guard entry >= 0 else {
            guard errno != EXDEV else { throw Self.otherFileSystem(name) }
            throw DatastoreError.lastSystemError("open")
        }
        let opened = try OwnedDescriptor(taking: entry, in: self)
        // A btrfs subvolume is a file system of its own without being a mount.
        guard opened.device == device else { throw Self.otherFileSystem(name) }
        return opened
    }

    /// Opens the directory above `directory`; above the export's own is the export's own.
    func openParent(of directory: OwnedDescriptor) throws(DatastoreError) -> OwnedDescriptor {
        guard !isRoot(directory) else { return try open() }
        let parent = try openDirectoryAbove(directory)
        // A directory that was moved out of the export has parents that are none of its clients' business.
        var ancestor = parent
        for _ in 0..<Self.maximumDepth {
            if isRoot(ancestor) { return parent }
            let next = try openDirectoryAbove(ancestor)
            guard !next.isSameFile(as: ancestor) else { break }
            ancestor = next
        }
        throw DatastoreError(.stale, "the directory is no longer in \(export.path)")
    }

    private func openDirectoryAbove(_ directory: OwnedDescriptor) throws(DatastoreError) -> OwnedDescriptor {
        let flags = linux_o_path | O_DIRECTORY | O_CLOEXEC
        let parent = linux_openat2(
            directory.rawValue, "..", flags, 0, linux_resolve_no_symlinks | linux_resolve_no_xdev)
        guard parent >= 0 else {
            guard errno != EXDEV else {
                throw DatastoreError(.stale, "the directory is no longer in \(export.path)")
            }
            throw DatastoreError.lastSystemError("open")
        }
        return try OwnedDescriptor(taking: parent, in: self)
    }

    /// A bound on loops that climb or descend; deeper trees are refused.
    static let maximumDepth = 4096

    private static func otherFileSystem(_ name: FileName) -> DatastoreError {
        DatastoreError(.access, "\(name): another file system is mounted there")
    }

    private static func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/"), let current = getcwd(nil, 0) else { return normalised(path) }
        defer { free(current) }
        return normalised("\(String(cString: current))/\(path)")
    }

    /// `path` without empty parts and `.`; `..` stays, because a symbolic link may come before it.
    static func normalised(_ path: some StringProtocol) -> String {
        "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    }

    /// The first 64 bits of the SHA-256 of the path.
    private static func identifier(of path: String) -> UInt64 {
        var context = sha256_ctx()
        nettle_sha256_init(&context)
        nettle_sha256_update(&context, path.utf8.count, Array(path.utf8))
        var digest = [UInt8](repeating: 0, count: 8)
        nettle_sha256_digest(&context, digest.count, &digest)
        return digest.reduce(0) { $0 << 8 | UInt64($1) }
    }
}
