import BlockStorage
import CLinux
import Glibc

/// What every operation on a directory's entries has in common.
extension Datastore {
    /// Opens the directory of `handle` for changing its entries and for making the change durable.
    func openDirectory(_ handle: FileHandle) throws(DatastoreError) -> OwnedDescriptor {
        let directory = try open(handle, flags: linux_o_path | O_DIRECTORY)
        // A server that is not root may be allowed to change a directory that it may not read.
        return (try? directory.reopened(O_RDONLY | O_DIRECTORY)) ?? directory
    }

    /// Calls `body` when it is this call's turn at `file`, and tells what it found and left.
    func changing<R>(
        _ file: OwnedDescriptor, _ body: () throws(DatastoreError) -> R
    ) throws(MutationFailure) -> (result: R, wcc: WeakCacheConsistency) {
        try turns.withTurn(of: file) { () throws(MutationFailure) in
            var wcc = WeakCacheConsistency(before: try? file.attributes().consistency)
            let result: R
            do throws(DatastoreError) {
                try file.root.checkWritable()
                result = try body()
            } catch {
                wcc.after = try? file.attributes()
                throw MutationFailure(error, wcc: wcc)
            }
            wcc.after = try? file.attributes()
            return (result, wcc)
        }
    }

    /// Changes the entry `name` of the directory `handle`; `.` and `..` throw `dots`.
    ///
    /// `body` has the directory's turn and runs as the server's own user. It waits for no call on a file, nor closes one:
    /// all others of the directory stand behind it.
    func changingEntry<R>(
        _ handle: FileHandle, _ name: FileName, dots: DatastoreError.Code,
        _ body: (OwnedDescriptor) throws(DatastoreError) -> R
    ) throws(MutationFailure) -> (directory: OwnedDescriptor, result: R, wcc: WeakCacheConsistency) {
        let directory: OwnedDescriptor
        do throws(DatastoreError) {
            directory = try openDirectory(handle)
        } catch {
            throw MutationFailure(error)
        }
        let (result, wcc) = try changing(directory) { () throws(DatastoreError) in
            try name.validate(dots: dots)
            return try body(directory)
        }
        return (directory, result, wcc)
    }

    /// Makes the changes of entries of `directory` durable, and a new or changed object with them.
    ///
    /// Also with one journal for all: the directory's own commit may be one from before the attributes of the object were
    /// set. The object's is the later one, and its directory's with it.
    ///
    /// Called outside of turns: the kernel makes one commit of those that wait at the same time.
    ///
    /// - Parameter hasOldData: whether the object is a file that was there before: clients' unstable writes to it, which may
    ///   be gigabytes, wait for their COMMIT, and no call on names for them.
    func makeDurable(
        _ directory: OwnedDescriptor, object: OwnedDescriptor? = nil, hasOldData: Bool = false
    ) throws(DatastoreError) {
        switch object?.type {
        case nil: break
        case .regular where !hasOldData, .directory: try object?.sync()
        default: try object?.syncAttributes()
        }
        try directory.sync()
    }

    /// Opens the entry `name` of `directory` as it is; nil when there is none.
    func existingEntry(_ name: FileName, of directory: OwnedDescriptor) throws(DatastoreError) -> OwnedDescriptor? {
        do throws(DatastoreError) {
            return try directory.root.openEntry(name, of: directory.rawValue, flags: linux_o_path)
        } catch  where error.code == .noEntry {
            return nil
        }
    }

    /// Takes note that the entry `name` of `directory`, which was `file`, is gone.
    ///
    /// - Returns: the file, if that was its last name: for ``OpenFiles/forgetRemoved(_:isDurable:)``, when the turn is
    ///   over and the removal durable.
    func noteRemoval(
        of file: OwnedDescriptor, _ name: FileName, from directory: OwnedDescriptor
    ) -> OwnedDescriptor? {
        file.root.inodes.forget(file.inode, parent: directory.inode, name: name)
        guard let attributes = try? file.attributes(), attributes.linkCount == 0 else {
            files.noteNameChange(of: file)
            return nil
        }
        file.root.inodes.recordAbsence(of: file.identity)
        return file
    }
}

extension FileName {
    /// As ``validate()``, and throws `code` for `.` and `..`.
    func validate(dots code: DatastoreError.Code) throws(DatastoreError) {
        try validate()
        guard !isCurrentDirectory, !isParentDirectory else { throw DatastoreError(code, "the name \(self)") }
    }
}

extension OwnedDescriptor {
    /// Makes attributes durable without waiting for data, which may be gigabytes, where the file system allows that.
    func syncAttributes() throws(DatastoreError) {
        if root.hasOneJournal, try root.commitJournal() { return }
        try sync()
    }

    /// Makes it durable that the file has lost its last name, whoever removed it.
    func syncRemoval() throws(DatastoreError) {
        LockRank.willWait(for: "a flush")
        if root.hasOneJournal, try root.commitJournal() { return }
        guard linux_syncfs(root.descriptor) == 0 else { throw DatastoreError.lastSystemError("sync") }
    }

    /// Makes data and attributes durable.
    ///
    /// Links and special files cannot be opened for that, nor can a server that is not root open what it may not
    /// read: the whole file system is synced then.
    func sync() throws(DatastoreError) {
        LockRank.willWait(for: "a flush")
        if fsync(rawValue) == 0 { return }
        guard errno == EBADF else { throw DatastoreError.lastSystemError("sync") }
        if type == .regular || type == .directory, let readable = try? reopened(O_RDONLY) {
            guard fsync(readable.rawValue) == 0 else { throw DatastoreError.lastSystemError("sync") }
            return
        }
        guard linux_syncfs(root.descriptor) == 0 else { throw DatastoreError.lastSystemError("sync") }
    }
}
