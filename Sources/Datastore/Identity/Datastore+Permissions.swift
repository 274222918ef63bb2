import CLinux
import Glibc

/// Permission checks for the path of READ and WRITE, on attributes that are at hand: no system call, but for those who
/// neither are root nor own a file that has an access control list. Of them the kernel knows.
///
/// The owner of a file may always read and write its data, whatever the mode: clients check the mode at open, and a
/// process that opened a file may go on after a chmod (RFC 1813 section 4.4). Who may execute a file may read it, because
/// a client has to load it.
extension Datastore {
    /// Throws what READ answers when `credentials` may not read `file`, which has `attributes` and was reached by
    /// `handle`: `isDirectory`, `invalidArgument` when it is neither file nor directory, `access`.
    func checkRead(
        _ file: OpenFile, _ attributes: FileAttributes, by handle: FileHandle, as credentials: Credentials
    ) throws(DatastoreError) {
        try checkRegular(attributes)
        let user = effective(credentials, on: root(of: file, by: handle))
        guard permits(file, attributes, bits: 0o5, as: user) else {
            throw DatastoreError(.access, "read: user \(credentials.uid) may not")
        }
    }

    /// Throws what WRITE answers when `credentials` may not write `file`, which has `attributes` and was reached by
    /// `handle`: `readOnly`, `isDirectory`, `invalidArgument` when it is neither file nor directory, `access`.
    func checkWrite(
        _ file: OpenFile, _ attributes: FileAttributes, by handle: FileHandle, as credentials: Credentials
    ) throws(DatastoreError) {
        try checkRegular(attributes)
        let root = root(of: file, by: handle)
        try root.checkWritable()
        guard permits(file, attributes, bits: 0o2, as: effective(credentials, on: root)) else {
            throw DatastoreError(.access, "write: user \(credentials.uid) may not")
        }
    }

    /// The user that `credentials` act as on the export `root`.
    ///
    /// Squashing comes last, when all groups are known: no way into group 0 is left.
    func effective(_ credentials: Credentials, on root: ExportRoot) -> Credentials {
        guard impersonation.isPossible else { return impersonation.server }
        return root.export.squashesRoot ? credentials.rootSquashed : credentials
    }

    /// The export through which a client reached `file`, whose rules count: a file with names in two is open once.
    func root(of file: OpenFile, by handle: FileHandle) -> ExportRoot {
        guard let id = HandleCodec.exportID(of: handle), let root = roots[id] else { return file.descriptor.root }
        return root
    }

    /// For whom data of a file with `attributes` is written; nil for the server itself.
    func writer(
        for credentials: Credentials, _ attributes: FileAttributes?, in root: ExportRoot
    ) -> DataWriter? {
        guard credentials.uid != impersonation.server.uid || root.export.squashesRoot else { return nil }
        return DataWriter(for: effective(credentials, on: root), attributes, in: root, impersonation)
    }

    /// Throws `isDirectory` or `invalidArgument` for what is no file.
    func checkRegular(_ attributes: FileAttributes) throws(DatastoreError) {
        switch attributes.type {
        case .regular: return
        case .directory: throw DatastoreError(.isDirectory, "a directory has no data")
        default: throw DatastoreError(.invalidArgument, "only a regular file has data")
        }
    }

    /// Whether `user` is root or the owner, or has one of `bits` by the list or the mode of the file.
    private func permits(
        _ file: OpenFile, _ attributes: FileAttributes, bits: UInt32, as user: Credentials
    ) -> Bool {
        if user.uid == 0 || user.uid == attributes.uid { return true }
        guard !file.accessControlList.exists(for: file.descriptor.rawValue, attributes) else {
            return kernelPermits(file, bits: bits, as: user)
        }
        let shift: UInt32 = user.isMember(of: attributes.gid) ? 3 : 0
        return attributes.mode >> shift & bits != 0
    }

    private func kernelPermits(_ file: OpenFile, bits: UInt32, as user: Credentials) -> Bool {
        let isPermitted = try? impersonation.run(as: user) { () throws(DatastoreError) in
            [R_OK, W_OK, X_OK].contains { right in
                Int32(bits) & right != 0
                    && linux_faccessat2(
                        file.descriptor.rawValue, "", right, linux_at_empty_path | AT_EACCESS) == 0
            }
        }
        return isPermitted ?? false
    }
}
