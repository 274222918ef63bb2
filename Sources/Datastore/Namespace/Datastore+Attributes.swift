import BlockStorage
import CLinux
import Glibc

extension Datastore {
    /// GETATTR (RFC 1813 section 3.3.1): the attributes of an object, whoever asks.
    public func getAttributes(
        _ handle: FileHandle, as credentials: Credentials
    ) throws(DatastoreError) -> FileAttributes {
        try open(handle, flags: linux_o_path).openedAttributes
    }

    /// The attributes of a file that clients read or write at present, for callers on an event loop; nil when it is not
    /// open, or was removed.
    public func attributesIfOpen(_ handle: FileHandle) -> FileAttributes? {
        // A file with names in two exports is open in one of them, by whose number its attributes name the file system.
        guard let file = files.file(for: handle), HandleCodec.exportID(of: handle) == file.descriptor.root.export.id,
            let attributes = try? file.descriptor.attributes(), attributes.linkCount > 0
        else { return nil }
        return attributes
    }

    /// SETATTR (RFC 1813 section 3.3.2): changes attributes, durably.
    ///
    /// With `guardTime` given, fails with `notSync` and changes nothing unless it is the object's change time. The
    /// changes are made one after another: size, owner and group, mode, times; when one fails, those before it stay.
    /// The size of anything but a file throws `isDirectory` or `invalidArgument`.
    public func setAttributes(
        _ handle: FileHandle, _ changes: AttributeChanges, guard guardTime: FileTime?, as credentials: Credentials
    ) throws(MutationFailure) -> WeakCacheConsistency {
        let file: OwnedDescriptor
        do throws(DatastoreError) {
            file = try open(handle, flags: linux_o_path)
        } catch {
            throw MutationFailure(error)
        }
        let wcc = try changingAttributes(of: file) { () throws(DatastoreError) in
            if let guardTime, guardTime != (try file.attributes().changeTime) {
                throw DatastoreError(.notSync, "the change time is another")
            }
            if let size = changes.size { try changeSize(of: file, to: size, as: credentials) }
            try apply(changes.withoutOddTimes(of: file), to: file, as: credentials)
            files.noteAttributeChange(of: file)
        }
        guard !changes.isEmpty else { return wcc }
        do throws(DatastoreError) {
            if changes.size == nil { try file.syncAttributes() } else { try file.sync() }
        } catch {
            throw MutationFailure(error, wcc: wcc)
        }
        return wcc
    }

    /// Calls `body`, and leaves out what it found when a WRITE was under way meanwhile: that holds no lock, but a
    /// place in the file's ``RangeTable``. A change of size has one as well, and counts as company.
    private func changingAttributes(
        of file: OwnedDescriptor, _ body: () throws(DatastoreError) -> Void
    ) throws(MutationFailure) -> WeakCacheConsistency {
        guard let ranges = files.file(device: file.device, inode: file.inode)?.ranges else {
            return try changing(file, body).wcc
        }
        let ticket = ranges.beginWrite(ByteRange(offset: 0, length: 0))
        let outcome: Result<WeakCacheConsistency, MutationFailure>
        do throws(MutationFailure) {
            outcome = .success(try changing(file, body).wcc)
        } catch {
            outcome = .failure(error)
        }
        var wasAlone = false
        ranges.endWrite(ticket) { wasAlone = $0 }
        switch outcome {
        case .success(var wcc):
            if !wasAlone { wcc.before = nil }
            return wcc
        case .failure(var failure):
            if !wasAlone { failure.wcc.before = nil }
            throw failure
        }
    }

    /// ACCESS (RFC 1813 section 3.3.4): which of `rights` the kernel grants the caller on an object.
    public func access(
        _ handle: FileHandle, _ rights: AccessRights, as credentials: Credentials
    ) throws(DatastoreError) -> AccessResult {
        let file = try open(handle, flags: linux_o_path)
        var granted: AccessRights = []
        try impersonation.run(as: effective(credentials, on: file.root)) { () throws(DatastoreError) in
            for (right, mode) in Self.checks(of: file) where rights.contains(right) {
                let flags = linux_at_empty_path | AT_EACCESS
                if linux_faccessat2(file.rawValue, "", mode, flags) == 0 { granted.insert(right) }
            }
        }
        return AccessResult(granted: granted, attributes: file.openedAttributes)
    }

    /// What the kernel must grant for each right that the object's type has.
    private static func checks(of file: OwnedDescriptor) -> [(AccessRights, Int32)] {
        let isReadOnly = file.root.export.isReadOnly
        if file.type == .directory {
            let reading: [(AccessRights, Int32)] = [(.read, R_OK), (.lookup, X_OK)]
            let writing: [(AccessRights, Int32)] = [
                (.modify, W_OK | X_OK), (.extend, W_OK | X_OK), (.delete, W_OK | X_OK),
            ]
            return isReadOnly ? reading : reading + writing
        }
        let reading: [(AccessRights, Int32)] = [(.read, R_OK), (.execute, X_OK)]
        return isReadOnly ? reading : reading + [(.modify, W_OK), (.extend, W_OK)]
    }

    /// Changes the size of `file`; its owner may, whatever the mode.
    func changeSize(
        of file: OwnedDescriptor, to size: UInt64, as credentials: Credentials
    ) throws(DatastoreError) {
        guard file.type != .directory else { throw DatastoreError(.isDirectory, "a directory has no size to set") }
        guard file.type == .regular else { throw DatastoreError(.invalidArgument, "only a file has a size to set") }
        guard let size = Int(exactly: size), UInt64(size) <= file.root.limits.maximumFileSize else {
            throw DatastoreError(.fileTooBig, "a size of \(size) bytes")
        }
        try checkIsWhole(handles.handle(of: file))
        let writable = try openForWriting(file, as: effective(credentials, on: file.root))
        try files.changeSize(of: writable, to: size) { () throws(DatastoreError) in
            guard ftruncate(writable.rawValue, size) == 0 else { throw DatastoreError.lastSystemError("truncate") }
        }
    }

    private func openForWriting(
        _ file: OwnedDescriptor, as user: Credentials
    ) throws(DatastoreError) -> OwnedDescriptor {
        do throws(DatastoreError) {
            return try impersonation.run(as: user) { () throws(DatastoreError) in try file.reopened(O_WRONLY) }
        } catch {
            guard error.code == .access, file.openedAttributes.uid == user.uid else { throw error }
            return try file.reopened(O_WRONLY)
        }
    }

    /// Makes those of `changes` that are not of the size, as the caller.
    func apply(
        _ changes: AttributeChanges, to file: OwnedDescriptor, as credentials: Credentials
    ) throws(DatastoreError) {
        try impersonation.run(as: effective(credentials, on: file.root)) { () throws(DatastoreError) in
            if changes.uid != nil || changes.gid != nil {
                let none = UInt32.max
                let status = fchownat(
                    file.rawValue, "", changes.uid ?? none, changes.gid ?? none, linux_at_empty_path)
                guard status == 0 else { throw DatastoreError.lastSystemError("change owner") }
            }
            if let mode = changes.mode {
                guard chmod(file.descriptorPath, mode & 0o7777) == 0 else {
                    throw DatastoreError.lastSystemError("change mode")
                }
            }
            if changes.accessTime != nil || changes.modificationTime != nil {
                let times = [try Self.timespec(changes.accessTime), try Self.timespec(changes.modificationTime)]
                guard utimensat(file.rawValue, "", times, linux_at_empty_path) == 0 else {
                    throw DatastoreError.lastSystemError("change times")
                }
            }
        }
    }

    private static func timespec(_ time: AttributeChanges.Time?) throws(DatastoreError) -> Glibc.timespec {
        switch time {
        case nil:
            return Glibc.timespec(tv_sec: 0, tv_nsec: linux_utime_omit)
        case .now:
            return Glibc.timespec(tv_sec: 0, tv_nsec: linux_utime_now)
        case .at(let time):
            guard time.nanoseconds < 1_000_000_000 else {
                throw DatastoreError(.invalidArgument, "a time with \(time.nanoseconds) nanoseconds")
            }
            return Glibc.timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
        }
    }
}

extension AttributeChanges {
    /// The same, with the times of an exclusive CREATE replaced by the present where the client sets none.
    fileprivate func withoutOddTimes(of file: OwnedDescriptor) -> AttributeChanges {
        var status = stat()
        guard !isEmpty, fstat(file.rawValue, &status) == 0 else { return self }
        var changes = self
        if ExclusiveCreation.isMarkedAccessTime(status) { changes.accessTime = accessTime ?? .now }
        if ExclusiveCreation.isMarkedModificationTime(status) { changes.modificationTime = modificationTime ?? .now }
        return changes
    }
}
