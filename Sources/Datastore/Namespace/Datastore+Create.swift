import CLinux
import Glibc

extension Datastore {
    private static let defaultFileMode: UInt32 = 0o644
    private static let defaultDirectoryMode: UInt32 = 0o755
    /// Of a file whose client says no mode and is to set its attributes next.
    private static let exclusiveMode: UInt32 = 0o600
    private static let maximumLinkTarget = Int(PATH_MAX) - 1

    /// CREATE (RFC 1813 section 3.3.8): a regular file, durable when this returns.
    ///
    /// Unchecked, an existing file is taken and only a new size is honoured; an object of another type throws
    /// `exists`. Guarded, any existing object throws `exists`. Exclusive, so does any but the file that a request
    /// with the same verifier made, also before a restart, and that nobody has changed since; a file system that cannot
    /// keep a verifier throws `notSupported`. `.` and `..` exist.
    public func create(
        _ handle: FileHandle, _ name: FileName, _ mode: CreateMode, as credentials: Credentials
    ) throws(MutationFailure) -> CreatedObject {
        let change = try changingEntry(handle, name, dots: .exists) { (directory) throws(DatastoreError) in
            if let file = try createFile(name, in: directory, mode, as: credentials) {
                return (file, isNew: true, try self.handle(of: file, at: (directory, name)))
            }
            let file = try takeExisting(name, in: directory, mode, as: credentials)
            return (file, isNew: false, try self.handle(of: file, at: (directory, name)))
        }
        let (file, isNew, fileHandle) = change.result
        do throws(DatastoreError) {
            if !isNew, let size = mode.changes?.size { try resize(file, to: size, as: credentials) }
            let attributes = try file.attributes()
            try makeDurable(change.directory, object: file, hasOldData: !isNew)
            return CreatedObject(handle: fileHandle, attributes: attributes, directory: change.wcc)
        } catch {
            throw MutationFailure(error, wcc: change.wcc)
        }
    }

    /// MKDIR (RFC 1813 section 3.3.9): a directory, durable when this returns. `.` and `..` exist.
    public func makeDirectory(
        _ handle: FileHandle, _ name: FileName, _ changes: AttributeChanges, as credentials: Credentials
    ) throws(MutationFailure) -> CreatedObject {
        try makeObject(handle, name, changes, as: credentials) { (directory) throws(DatastoreError) in
            let mode = (changes.mode ?? Self.defaultDirectoryMode) & 0o7777
            guard name.withCString({ mkdirat(directory.rawValue, $0, mode) }) == 0 else {
                throw DatastoreError.lastSystemError("make directory")
            }
        }
    }

    /// SYMLINK (RFC 1813 section 3.3.10): a symbolic link with the text `target`, durable when this returns.
    ///
    /// The text may lead anywhere: it is for clients to follow, the server never does. A mode is ignored, links have
    /// none of their own. An empty text, or one with a zero byte, throws `invalidArgument`.
    public func makeSymbolicLink(
        _ handle: FileHandle, _ name: FileName, target: [UInt8], _ changes: AttributeChanges,
        as credentials: Credentials
    ) throws(MutationFailure) -> CreatedObject {
        var changes = changes
        changes.mode = nil
        return try makeObject(handle, name, changes, as: credentials) { (directory) throws(DatastoreError) in
            guard !target.isEmpty, !target.contains(0) else {
                throw DatastoreError(.invalidArgument, "a link's text that is empty or has a zero byte")
            }
            guard target.count <= Self.maximumLinkTarget else {
                throw DatastoreError(.nameTooLong, "a link's text of \(target.count) bytes")
            }
            let text = FileName(bytes: target)
            let status = text.withCString { target in
                name.withCString { symlinkat(target, directory.rawValue, $0) }
            }
            guard status == 0 else { throw DatastoreError.lastSystemError("make link") }
        }
    }

    /// MKNOD (RFC 1813 section 3.3.11): a device, socket or pipe, durable when this returns.
    ///
    /// Devices are root's. The server never opens what this makes.
    public func makeNode(
        _ handle: FileHandle, _ name: FileName, _ file: SpecialFile, _ changes: AttributeChanges,
        as credentials: Credentials
    ) throws(MutationFailure) -> CreatedObject {
        try makeObject(handle, name, changes, as: credentials) { (directory) throws(DatastoreError) in
            let (type, device) = file.typeAndDevice
            let mode = type | (changes.mode ?? Self.defaultFileMode) & 0o7777
            guard name.withCString({ mknodat(directory.rawValue, $0, mode, device) }) == 0 else {
                throw DatastoreError.lastSystemError("make special file")
            }
        }
    }

    /// Calls `make` as the caller, gives what it made the attributes of `changes`, and makes both durable.
    private func makeObject(
        _ handle: FileHandle, _ name: FileName, _ changes: AttributeChanges, as credentials: Credentials,
        _ make: (OwnedDescriptor) throws(DatastoreError) -> Void
    ) throws(MutationFailure) -> CreatedObject {
        let change = try changingEntry(handle, name, dots: .exists) { (directory) throws(DatastoreError) in
            let user = effective(credentials, on: directory.root)
            try impersonation.run(as: user, mayTakeSpace: true) { () throws(DatastoreError) in try make(directory) }
            let object = try directory.root.openEntry(name, of: directory.rawValue, flags: linux_o_path)
            do throws(DatastoreError) {
                try finish(object, changes, as: credentials)
            } catch {
                remove(object, name, from: directory)
                throw error
            }
            return (object, try self.handle(of: object, at: (directory, name)), try object.attributes())
        }
        let (object, objectHandle, attributes) = change.result
        do throws(DatastoreError) {
            try makeDurable(change.directory, object: object)
        } catch {
            throw MutationFailure(error, wcc: change.wcc)
        }
        return CreatedObject(handle: objectHandle, attributes: attributes, directory: change.wcc)
    }

    /// Makes a file, or returns nil when the name is taken.
    private func createFile(
        _ name: FileName, in directory: OwnedDescriptor, _ mode: CreateMode, as credentials: Credentials
    ) throws(DatastoreError) -> OwnedDescriptor? {
        let permissions = (mode.changes.map { $0.mode ?? Self.defaultFileMode } ?? Self.exclusiveMode) & 0o7777
        let file: OwnedDescriptor
        do throws(DatastoreError) {
            let user = effective(credentials, on: directory.root)
            file = try impersonation.run(as: user, mayTakeSpace: true) { () throws(DatastoreError) in
                let flags = O_WRONLY | O_CREAT | O_EXCL
                return try directory.root.openEntry(name, of: directory.rawValue, flags: flags, mode: permissions)
            }
        } catch  where error.code == .exists {
            return nil
        }
        do throws(DatastoreError) {
            switch mode {
            case .exclusive(let verifier):
                try ExclusiveCreation.store(verifier, in: file)
            case .unchecked(let changes), .guarded(let changes):
                if let size = changes.size { try resizeNew(file, to: size) }
                try finish(file, changes, as: credentials)
            }
        } catch {
            remove(file, name, from: directory)
            throw error
        }
        return file
    }

    private func takeExisting(
        _ name: FileName, in directory: OwnedDescriptor, _ mode: CreateMode, as credentials: Credentials
    ) throws(DatastoreError) -> OwnedDescriptor {
        let file = try impersonation.run(as: effective(credentials, on: directory.root)) {
            () throws(DatastoreError) in
            try directory.root.openEntry(name, of: directory.rawValue, flags: linux_o_path)
        }
        let mayBeTaken =
            switch mode {
            case .guarded: false
            case .unchecked: file.type == .regular
            case .exclusive(let verifier): try ExclusiveCreation.holds(verifier, in: file)
            }
        guard mayBeTaken else { throw DatastoreError(.exists, "create \(name)") }
        return file
    }

    /// Changes the size of a file that was there, outside of the directory's turn: the file has its own.
    private func resize(
        _ file: OwnedDescriptor, to size: UInt64, as credentials: Credentials
    ) throws(DatastoreError) {
        do throws(MutationFailure) {
            _ = try changingAttributes(of: file, size: size) { () throws(DatastoreError) in
                let user = effective(credentials, on: file.root)
                let writable = try openForResizing(file, as: user)
                try changeSize(of: writable, to: size, as: user)
            }
        } catch {
            throw error.error
        }
        try file.sync()
    }

    private func resizeNew(_ file: OwnedDescriptor, to size: UInt64) throws(DatastoreError) {
        let size = try Self.checkedSize(size, of: file)
        guard size == 0 || ftruncate(file.rawValue, size) == 0 else { throw DatastoreError.lastSystemError("create") }
    }

    /// Gives a new object those attributes that making it did not.
    ///
    /// The mode was given then, and an access control list of the directory may have narrowed it since: it is set
    /// again only for the bits that the kernel leaves out, or that a change of the owner clears.
    private func finish(
        _ object: OwnedDescriptor, _ changes: AttributeChanges, as credentials: Credentials
    ) throws(DatastoreError) {
        var rest = changes
        let made = try object.attributes()
        if rest.uid == made.uid { rest.uid = nil }
        if rest.gid == made.gid { rest.gid = nil }
        let special = (changes.mode ?? 0) & 0o7000
        let changesOwner = rest.uid != nil || rest.gid != nil
        if special & ~made.mode == 0, special == 0 || !changesOwner { rest.mode = nil }
        try apply(rest, toNew: object, as: effective(credentials, on: object.root))
    }

    /// Takes away what an operation made that failed later, unless the name is another object's by now.
    private func remove(_ object: OwnedDescriptor, _ name: FileName, from directory: OwnedDescriptor) {
        guard let entry = try? existingEntry(name, of: directory), entry.isSameFile(as: object) else { return }
        let flags = object.type == .directory ? AT_REMOVEDIR : 0
        _ = name.withCString { unlinkat(directory.rawValue, $0, flags) }
    }
}

extension CreateMode {
    /// The attributes that the client gives; nil with a verifier in their place.
    fileprivate var changes: AttributeChanges? {
        switch self {
        case .unchecked(let changes), .guarded(let changes): changes
        case .exclusive: nil
        }
    }
}

extension SpecialFile {
    fileprivate var typeAndDevice: (mode_t, dev_t) {
        switch self {
        case .blockDevice(let major, let minor): (S_IFBLK, dev_t(linux_device_number(major, minor)))
        case .characterDevice(let major, let minor): (S_IFCHR, dev_t(linux_device_number(major, minor)))
        case .socket: (S_IFSOCK, 0)
        case .fifo: (S_IFIFO, 0)
        }
    }
}
