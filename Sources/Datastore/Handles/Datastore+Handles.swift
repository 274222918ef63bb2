import CLinux
import Glibc

/// From handles to open files and back.
///
/// A handle stays good whatever name its file has, also over restarts, until the file is removed. As with the
/// kernel's server without `subtree_check`, a file or directory that the administrator moves out of an export stays
/// in reach of those who have its handle; nobody gets from there to what is above or beside it.
extension Datastore {
    /// Opens the file of `handle` as the server's own user, whatever its permissions; ``attributes(of:)`` and
    /// ``checkRead(_:_:by:as:)`` tell what the caller may do with it.
    ///
    /// `flags` are those of open(2). Without `O_PATH` only files and directories are opened, never devices or pipes:
    /// anything else throws `invalidArgument`. Throws `badHandle` for bytes that are no handle of this server,
    /// `stale` when the file or its export is gone, and what open(2) fails with, `isDirectory` among it.
    func open(_ handle: FileHandle, flags: Int32) throws(DatastoreError) -> OwnedDescriptor {
        let content = try handles.open(handle)
        guard let root = roots[content.exportID] else { throw DatastoreError(.stale, "its export is not served") }
        let file = try openPath(content.identity, in: root)
        guard file.openedAttributes.linkCount > 0, file.device == root.device else {
            throw DatastoreError(.stale, "the file is gone")
        }
        guard flags & linux_o_path == 0 else {
            if flags & O_DIRECTORY != 0 { try file.checkDirectory() }
            return file
        }
        guard file.type == .regular || file.type == .directory else {
            throw DatastoreError(.invalidArgument, "neither a file nor a directory")
        }
        return try file.reopened(flags)
    }

    private func openPath(
        _ identity: HandleCodec.Content.Identity, in root: ExportRoot
    ) throws(DatastoreError) -> OwnedDescriptor {
        switch identity {
        case .inode(let identity):
            return try root.inodes.open(identity, in: root)
        case .kernel(let kernelHandle):
            let descriptor = kernelHandle.open(under: root.descriptor, flags: linux_o_path | O_CLOEXEC)
            guard descriptor >= 0 else {
                // A kernel handle that does not fit the file system: the export's path has another one now.
                guard errno != EINVAL, errno != EOPNOTSUPP else { throw DatastoreError(.stale, "the file is gone") }
                throw DatastoreError.ofDescriptor(errno, "open")
            }
            let file = try OwnedDescriptor(taking: descriptor, in: root)
            if let failure = configuration.openFailure?(file.inode) {
                throw DatastoreError.ofDescriptor(failure, "open")
            }
            return file
        }
    }

    /// The handle of `file`; nil place for the export's own directory.
    func handle(of file: OwnedDescriptor, at place: (directory: OwnedDescriptor, name: FileName)?)
        throws(DatastoreError) -> FileHandle
    {
        let root = file.root
        if let place, !root.issuesKernelHandles, !root.isRoot(file) {
            root.inodes.record(file.inode, parent: place.directory.inode, name: place.name)
        }
        return try handles.handle(of: file)
    }

    /// The attributes of `descriptor` now.
    func attributes(of descriptor: OwnedDescriptor) throws(DatastoreError) -> FileAttributes {
        try descriptor.attributes()
    }

    /// The export that `handle` says it is of, unchecked; nil for bytes that are no handle or of no export here.
    ///
    /// For deciding on a client before the operation: the operation itself checks the handle. Does not block.
    public func export(of handle: FileHandle) -> Export? {
        guard let id = HandleCodec.exportID(of: handle) else { return nil }
        return roots[id]?.export
    }
}

extension HandleCodec {
    /// The handle of `file`; the same for as long as the file exists.
    func handle(of file: OwnedDescriptor) throws(DatastoreError) -> FileHandle {
        let id = file.root.export.id
        guard file.root.issuesKernelHandles else {
            return seal(Content(exportID: id, identity: .inode(file.identity)))
        }
        guard let handle = KernelHandle(of: file.rawValue) else { throw DatastoreError.lastSystemError("handle") }
        return seal(Content(exportID: id, identity: .kernel(handle)))
    }
}

extension OwnedDescriptor {
    func checkDirectory() throws(DatastoreError) {
        guard type == .directory else { throw DatastoreError(.notDirectory, "not a directory") }
    }
}
