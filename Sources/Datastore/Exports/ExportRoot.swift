import BlockStorage
import CLinux
import CNettle
import DiskImages
import Glibc
import Synchronization

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
    let paths = PathSearch()
    let limits: FileSystemLimits
    let callerLimits: CallerLimits
    /// Whether a directory's fsync makes the new objects in it durable as well: all metadata is in one journal.
    let hasOneJournal: Bool
    /// How many directories were opened from below: what `..` has cost.
    let climbs = Atomic(0)

    /// Opens the directory that `configuration` names.
    init(
        _ configuration: DatastoreConfiguration.Export, scheme: DatastoreConfiguration.HandleScheme, patience: Duration
    ) throws(DatastoreError) {
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
        inodes = InodeTable(patience: patience)
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
        LockRank.willWait(for: "a flush")
        guard fsync(file) == 0 else { throw DatastoreError.lastSystemError("sync") }
        return true
    }

    /// Throws when the file system does not answer: of what is not found then nothing is known.
    func checkStore() throws(DatastoreError) {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0 else {
            throw DatastoreError.ofDescriptor(errno, "file system status")
        }
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
        // openat2 refuses flags that mean nothing for a path descriptor.
        let terminal = flags & linux_o_path == 0 ? O_NOCTTY : 0
        let entry = name.withCString {
            linux_openat2(directory, $0, flags | O_NOFOLLOW | O_CLOEXEC | terminal, mode, Self.inside)
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
        guard try contains(parent) else { throw DatastoreError(.stale, Self.movedAway(from: export)) }
        return parent
    }

    /// Whether `directory` is the export's own or below it.
    ///
    /// The kernel's name for it tells, unless the path is longer than it can say; then that of a directory so far above
    /// that it is shorter.
    private func contains(_ directory: OwnedDescriptor) throws(DatastoreError) -> Bool {
        guard let own = OwnedDescriptor.path(of: descriptor) else { throw DatastoreError.lastSystemError("export") }
        var directory = directory
        var step = Self.longStep
        for _ in 0..<Self.maximumStepCount {
            if let path = OwnedDescriptor.path(of: directory.rawValue) { return Self.path(path, isIn: own) }
            guard errno == ENAMETOOLONG else { throw DatastoreError.lastSystemError("open") }
            let above = try openDirectoryAbove(directory, levels: step)
            // Too far up, perhaps: what is above the export says nothing of what is below.
            if step > 1, let path = OwnedDescriptor.path(of: above.rawValue), !Self.path(path, isIn: own) {
                step = 1
            } else {
                directory = above
            }
        }
        throw DatastoreError(.nameTooLong, "a directory that deep")
    }

    /// The files of disk images: whatever stands in a path when it is opened, nothing leads out of the export or to
    /// another file system, and no symbolic link is followed. The paths are those of ``OwnedDescriptor/currentPath``;
    /// `path` is that of `file`, which is open already.
    func hostFiles(besides file: OwnedDescriptor, at path: String) -> HostFiles {
        let own = ByteString(escaped: path)
        return HostFiles { [self] other, flags in
            other == own ? Glibc.open(file.descriptorPath, flags & ~O_NOFOLLOW) : openFile(at: other, flags)
        }
    }

    /// Opens the file at `path`, as it is, as a path only; nil when there is none.
    func openFile(at path: String) -> OwnedDescriptor? {
        let descriptor = openFile(at: ByteString(escaped: path), linux_o_path | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0, let file = try? OwnedDescriptor(taking: descriptor, in: self) else { return nil }
        return file.device == device ? file : nil
    }

    private func openFile(at path: ByteString, _ flags: Int32) -> Int32 {
        guard let own = OwnedDescriptor.path(of: descriptor), Self.path(path.bytes, isIn: own) else {
            errno = ENOENT
            return -1
        }
        let relative = FileName(bytes: path.bytes.dropFirst(own.count).drop { $0 == 0x2f })
        return relative.withCString { linux_openat2(descriptor, $0, flags, 0, Self.inside) }
    }

    private static let inside = linux_resolve_beneath | linux_resolve_no_symlinks | linux_resolve_no_xdev
    private static let longStep = 256
    private static let maximumStepCount = 8192

    private static func path(_ path: [UInt8], isIn directory: [UInt8]) -> Bool {
        guard path.starts(with: directory) else { return false }
        return path.count == directory.count || directory.last == 0x2f || path[directory.count] == 0x2f
    }

    private func openDirectoryAbove(
        _ directory: OwnedDescriptor, levels: Int = 1
    ) throws(DatastoreError) -> OwnedDescriptor {
        climbs.add(1, ordering: .relaxed)
        let flags = linux_o_path | O_DIRECTORY | O_CLOEXEC
        let path = Array(repeating: "..", count: levels).joined(separator: "/")
        let parent = linux_openat2(
            directory.rawValue, path, flags, 0, linux_resolve_no_symlinks | linux_resolve_no_xdev)
        guard parent >= 0 else {
            guard errno != EXDEV else { throw DatastoreError(.stale, Self.movedAway(from: export)) }
            throw DatastoreError.lastSystemError("open")
        }
        return try OwnedDescriptor(taking: parent, in: self)
    }

    private static func movedAway(from export: Export) -> String { "the directory is no longer in \(export.path)" }

    /// A bound on loops that descend; files in deeper trees are not found without kernel handles.
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
