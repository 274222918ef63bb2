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
    /// With `guardTime` given, fails with `notSync` and changes nothing unless it is the object's change time. Everything
    /// is checked before anything is changed, see ``change(_:_:as:)``. The size of anything but a file throws
    /// `isDirectory` or `invalidArgument`.
    public func setAttributes(
        _ handle: FileHandle, _ changes: AttributeChanges, guard guardTime: FileTime?, as credentials: Credentials
    ) throws(MutationFailure) -> WeakCacheConsistency {
        let file: OwnedDescriptor
        do throws(DatastoreError) {
            file = try open(handle, flags: linux_o_path)
        } catch {
            throw MutationFailure(error)
        }
        let wcc = try changingAttributes(of: file, size: changes.size) { () throws(DatastoreError) in
            if let guardTime, guardTime != (try file.attributes().changeTime) {
                throw DatastoreError(.notSync, "the change time is another")
            }
            guard !changes.isEmpty else { return }
            try change(file, changes, as: effective(credentials, on: file.root))
        }
        guard !changes.isEmpty else { return wcc }
        do throws(DatastoreError) {
            do throws(DatastoreError) {
                if changes.size == nil { try file.syncAttributes() } else { try file.sync() }
            } catch {
                // The kernel tells of what was lost once: no COMMIT may say now that all is well (invariant 5).
                files.noteFailedFlush(of: file)
                throw error
            }
            if changes.modificationTime != nil { try keepTimes(of: file) }
        } catch {
            throw MutationFailure(error, wcc: wcc)
        }
        return wcc
    }

    /// Calls `body`, which changes attributes of `file`, and its size if that is to be `size`, in the file's turn and with
    /// a place among its WRITEs; leaves out what it found when one was under way meanwhile.
    ///
    /// A file whose size is to change is opened for that: its first WRITE may come at the same time.
    func changingAttributes(
        of file: OwnedDescriptor, size: UInt64?, _ body: () throws(DatastoreError) -> Void
    ) throws(MutationFailure) -> WeakCacheConsistency {
        var wasAlone = true
        do throws(MutationFailure) {
            var wcc = try changing(file) { () throws(DatastoreError) in
                let size = file.type == .regular ? size.flatMap { Int(exactly: $0) } : nil
                let open =
                    try size == nil
                    ? files.file(device: file.device, inode: file.inode) : openFile(handles.handle(of: file))
                guard let open else { return try body() }
                try files.changeAttributes(of: open, size: size, wasAlone: &wasAlone, body)
            }.wcc
            if !wasAlone { wcc.before = nil }
            return wcc
        } catch {
            var failure = error
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
}
