import BlockStorage
import CLinux
import Glibc

extension Datastore {
    /// The handle of the directory `path`, an export or a directory below one (MNT, RFC 1813 section 5.2.1).
    ///
    /// The export may be named as it was configured or by its path without symbolic links. Throws `access` when the
    /// client may not use the export, `noEntry` when nothing of the path is exported, and
    /// what looking up a name fails with. Symbolic links below the export are not followed.
    public func mount(_ path: [UInt8], client: ClientAddress) throws(DatastoreError) -> FileHandle {
        guard let (root, names) = exported(path) else {
            throw DatastoreError(.noEntry, "\(ByteString(path)): not exported")
        }
        guard root.export.admits(client) else {
            throw DatastoreError(.access, "\(ByteString(path)): not for this client")
        }
        var directory = try root.open()
        var place: (directory: OwnedDescriptor, name: FileName)?
        for name in names {
            try name.validate(dots: .access)
            let entry = try root.openEntry(name, of: directory.rawValue, flags: linux_o_path)
            try entry.checkDirectory()
            place = (directory, name)
            // Without kernel handles every directory on the way is needed to find the last one again.
            _ = try handle(of: entry, at: place)
            directory = entry
        }
        return try handle(of: directory, at: place)
    }

    /// As ``mount(_:client:)`` of the path's UTF-8.
    public func mount(_ path: String, client: ClientAddress) throws(DatastoreError) -> FileHandle {
        try mount(Array(path.utf8), client: client)
    }

    /// The export that holds the directory `path`, and the names that lead there from the export's own.
    private func exported(_ path: [UInt8]) -> (ExportRoot, [FileName])? {
        let names = Self.names(in: path)
        for root in roots.values {
            for own in [root.export.path, root.configuredPath].map({ Self.names(in: Array($0.utf8)) })
            where names.starts(with: own) {
                return (root, Array(names.dropFirst(own.count)))
            }
        }
        return nil
    }

    /// The names in a path, without `.` and empty ones; `..` stays, because a symbolic link may come before it.
    private static func names(in path: [UInt8]) -> [FileName] {
        path.split(separator: 0x2f).map { FileName(bytes: $0) }.filter { !$0.isCurrentDirectory }
    }

    /// LOOKUP (RFC 1813 section 3.3.3): the object of one name in a directory.
    ///
    /// `.` is the directory itself, `..` the one above it, and of an export's directory the same directory. Symbolic
    /// links are found, not followed. A mount point of another file system throws `access`.
    public func lookup(
        _ handle: FileHandle, _ name: FileName, as credentials: Credentials
    ) throws(DatastoreError) -> LookupResult {
        try name.validate()
        let directory = try open(handle, flags: linux_o_path | O_DIRECTORY)
        let user = effective(credentials, on: directory.root)
        let found = try lookup(name, in: directory, as: user)
        return LookupResult(
            handle: found.handle, attributes: found.file.openedAttributes, directory: try? directory.attributes())
    }

    /// Opens `name` in `directory` as a path only, as `user`, with its handle.
    func lookup(
        _ name: FileName, in directory: OwnedDescriptor, as user: Credentials
    ) throws(DatastoreError) -> (file: OwnedDescriptor, handle: FileHandle) {
        guard !name.isCurrentDirectory, !name.isParentDirectory else {
            try impersonation.run(as: user) { () throws(DatastoreError) in
                guard linux_faccessat2(directory.rawValue, "", X_OK, linux_at_empty_path | AT_EACCESS) == 0 else {
                    throw DatastoreError.lastSystemError("lookup")
                }
            }
            let file = name.isCurrentDirectory ? directory : try directory.root.openParent(of: directory)
            return (file, try self.handle(of: file, at: nil))
        }
        let file = try impersonation.run(as: user) { () throws(DatastoreError) in
            try directory.root.openEntry(name, of: directory.rawValue, flags: linux_o_path)
        }
        return (file, try self.handle(of: file, at: (directory, name)))
    }

    /// READLINK (RFC 1813 section 3.3.5): the text of a symbolic link; anything else throws `invalidArgument`.
    public func readLink(_ handle: FileHandle, as credentials: Credentials) throws(DatastoreError) -> LinkTarget {
        let link = try open(handle, flags: linux_o_path)
        guard link.type == .symbolicLink else { throw DatastoreError(.invalidArgument, "not a symbolic link") }
        var text = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlinkat(link.rawValue, "", &text, text.count)
        guard count >= 0 else { throw DatastoreError.lastSystemError("read link") }
        let bytes = text[..<count].map { UInt8(bitPattern: $0) }
        return LinkTarget(bytes: bytes, attributes: link.openedAttributes)
    }
}
