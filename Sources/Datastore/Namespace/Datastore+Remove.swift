import BlockStorage
import CLinux
import Glibc
import Tiering

extension Datastore {
    /// REMOVE (RFC 1813 section 3.3.12): takes away a name of anything but a directory, durably.
    ///
    /// When it was the last name, the file's handles are stale from then on. A directory throws `isDirectory`, `.`
    /// and `..` throw `access`.
    public func remove(
        _ handle: FileHandle, _ name: FileName, as credentials: Credentials
    ) throws(MutationFailure) -> WeakCacheConsistency {
        try unlink(handle, name, dots: .access, flags: 0, as: credentials)
    }

    /// RMDIR (RFC 1813 section 3.3.13): removes an empty directory, durably.
    ///
    /// `notEmpty` when it has entries; `.` throws `invalidArgument` and `..` throws `exists`.
    public func removeDirectory(
        _ handle: FileHandle, _ name: FileName, as credentials: Credentials
    ) throws(MutationFailure) -> WeakCacheConsistency {
        let dots: DatastoreError.Code = name.isParentDirectory ? .exists : .invalidArgument
        return try unlink(handle, name, dots: dots, flags: AT_REMOVEDIR, as: credentials)
    }

    private func unlink(
        _ handle: FileHandle, _ name: FileName, dots: DatastoreError.Code, flags: Int32, as credentials: Credentials
    ) throws(MutationFailure) -> WeakCacheConsistency {
        var wcc = WeakCacheConsistency()
        var changed: OwnedDescriptor?
        try removing(name, of: handle, failure: { MutationFailure($0) }) { (announced) throws(MutationFailure) in
            let change = try changingEntry(handle, name, dots: dots) { (directory) throws(DatastoreError) in
                let entry = try existingEntry(name, of: directory)
                guard mayRemove(entry, after: announced) else { return NameRemoval.superseded }
                try impersonation.run(as: effective(credentials, on: directory.root)) { () throws(DatastoreError) in
                    LockRank.willWait(for: "a removal")
                    guard name.withCString({ unlinkat(directory.rawValue, $0, flags) }) == 0 else {
                        throw DatastoreError.lastSystemError("remove")
                    }
                }
                return .done(entry.flatMap { noteRemoval(of: $0, name, from: directory) })
            }
            (changed, wcc) = (change.directory, change.wcc)
            return change.result
        } makeDurable: { () throws(MutationFailure) in
            do throws(DatastoreError) {
                if let changed { try makeDurable(changed) }
            } catch {
                throw MutationFailure(error, wcc: wcc)
            }
        }
        return wcc
    }

    /// RENAME (RFC 1813 section 3.3.14): gives an object another name, perhaps in another directory, at one stroke
    /// and durably.
    ///
    /// An object that has the new name goes, if it is of the same kind and, a directory, empty; when both names are
    /// of one file, nothing happens. Two exports throw `crossDevice`, `.` and `..` throw `invalidArgument`.
    public func rename(
        _ sourceHandle: FileHandle, _ sourceName: FileName,
        to destinationHandle: FileHandle, _ destinationName: FileName, as credentials: Credentials
    ) throws(RenameFailure) -> RenameResult {
        var result = RenameResult(source: WeakCacheConsistency(), destination: WeakCacheConsistency())
        do throws(DatastoreError) {
            let source = try openDirectory(sourceHandle)
            let destination = try openDirectory(destinationHandle)
            try removing(destinationName, of: destinationHandle, failure: { $0 }) {
                (announced) throws(DatastoreError) in
                try turns.withTurns(of: source, destination) { () throws(DatastoreError) -> NameRemoval in
                    result.source.before = try? source.attributes().consistency
                    result.destination.before = try? destination.attributes().consistency
                    defer {
                        result.source.after = try? source.attributes()
                        result.destination.after = try? destination.attributes()
                    }
                    try sourceName.validate(dots: .invalidArgument)
                    try destinationName.validate(dots: .invalidArgument)
                    return try rename(
                        (source, sourceName), to: (destination, destinationName), after: announced, as: credentials)
                }
            } makeDurable: { () throws(DatastoreError) in
                try makeDurable(destination)
                if !source.root.hasOneJournal, !source.isSameFile(as: destination) { try makeDurable(source) }
            }
        } catch {
            throw RenameFailure(error: error, source: result.source, destination: result.destination)
        }
        return result
    }

    private typealias Place = (directory: OwnedDescriptor, name: FileName)

    private func rename(
        _ source: Place, to destination: Place, after announced: ImageIdentity?, as credentials: Credentials
    ) throws(DatastoreError) -> NameRemoval {
        let root = source.directory.root
        guard root === destination.directory.root else {
            throw DatastoreError(.crossDevice, "rename: two exports")
        }
        try root.checkWritable()
        let file = try existingEntry(source.name, of: source.directory)
        let replaced = try existingEntry(destination.name, of: destination.directory)
        guard mayRemove(replaced, after: announced) else { return .superseded }
        try impersonation.run(as: effective(credentials, on: root), mayTakeSpace: true) { () throws(DatastoreError) in
            LockRank.willWait(for: "a rename")
            let status = source.name.withCString { from in
                destination.name.withCString { to in
                    renameat(source.directory.rawValue, from, destination.directory.rawValue, to)
                }
            }
            guard status == 0 else { throw DatastoreError.lastSystemError("rename") }
        }
        guard let file else { return .done(nil) }
        files.noteNameChange(of: file)
        noteMove(of: file)
        var removed: OwnedDescriptor?
        if let replaced {
            guard !replaced.isSameFile(as: file) else { return .done(nil) }
            removed = noteRemoval(of: replaced, destination.name, from: destination.directory)
        }
        if !root.issuesKernelHandles {
            root.inodes.record(file.inode, parent: destination.directory.inode, name: destination.name)
        }
        return .done(removed)
    }

    /// LINK (RFC 1813 section 3.3.15): one name more for a file, durably.
    ///
    /// A directory throws `invalidArgument`, two exports throw `crossDevice`; `.` and `..` exist.
    public func link(
        _ handle: FileHandle, _ directoryHandle: FileHandle, _ name: FileName, as credentials: Credentials
    ) throws(LinkFailure) -> LinkResult {
        let file: OwnedDescriptor
        do throws(DatastoreError) {
            file = try open(handle, flags: linux_o_path)
        } catch {
            throw LinkFailure(error: error, attributes: nil, directory: WeakCacheConsistency())
        }
        do throws(MutationFailure) {
            let change = try changingEntry(directoryHandle, name, dots: .exists) {
                (directory) throws(DatastoreError) in
                try link(file, name, in: directory, as: credentials)
            }
            do throws(DatastoreError) {
                try makeDurable(change.directory, object: file, hasOldData: true)
            } catch {
                throw MutationFailure(error, wcc: change.wcc)
            }
            return LinkResult(attributes: try? file.attributes(), directory: change.wcc)
        } catch {
            throw LinkFailure(error: error.error, attributes: try? file.attributes(), directory: error.wcc)
        }
    }

    private func link(
        _ file: OwnedDescriptor, _ name: FileName, in directory: OwnedDescriptor, as credentials: Credentials
    ) throws(DatastoreError) {
        guard file.root === directory.root else { throw DatastoreError(.crossDevice, "link: two exports") }
        guard file.type != .directory else { throw DatastoreError(.invalidArgument, "link: a directory") }
        let user = effective(credentials, on: directory.root)
        try impersonation.run(as: user, mayTakeSpace: true) { () throws(DatastoreError) in
            let status = name.withCString {
                linkat(AT_FDCWD, file.descriptorPath, directory.rawValue, $0, AT_SYMLINK_FOLLOW)
            }
            guard status == 0 else { throw DatastoreError.lastSystemError("link") }
        }
        files.noteNameChange(of: file)
        if let entry = (try? existingEntry(name, of: directory)) ?? nil { noteLink(entry) }
    }
}
