/// Permission checks on attributes that are at hand, for the path of READ and WRITE: no system call, but for a user
/// with all the groups that AUTH_SYS can carry, whose others are looked up now and then.
///
/// They know mode bits and no access control lists. The owner of a file may always read and write its data, whatever
/// the mode: clients check the mode at open, and a process that opened a file may go on after a chmod (RFC 1813
/// section 4.4). Who may execute a file may read it, because a client has to load it.
extension Datastore {
    /// Whether `credentials`, as the client sent them, may read the data of a file with `attributes`.
    public func mayRead(_ attributes: FileAttributes, as credentials: Credentials) -> Bool {
        permits(attributes, bits: 0o4, as: credentials) || permits(attributes, bits: 0o1, as: credentials)
    }

    /// Whether `credentials`, as the client sent them, may write the data of a file with `attributes`.
    ///
    /// Says nothing of read-only exports: see ``checkWrite(_:as:)``.
    public func mayWrite(_ attributes: FileAttributes, as credentials: Credentials) -> Bool {
        permits(attributes, bits: 0o2, as: credentials)
    }

    /// Throws what READ answers when `credentials` may not read an object with `attributes`: `isDirectory`,
    /// `invalidArgument` when it is neither file nor directory, `access`.
    public func checkRead(_ attributes: FileAttributes, as credentials: Credentials) throws(DatastoreError) {
        try checkRegular(attributes)
        guard mayRead(attributes, as: credentials) else {
            throw DatastoreError(.access, "read: user \(credentials.uid) may not")
        }
    }

    /// Throws what WRITE answers when `credentials` may not write an object with `attributes`: `readOnly`,
    /// `isDirectory`, `invalidArgument` when it is neither file nor directory, `access`.
    public func checkWrite(_ attributes: FileAttributes, as credentials: Credentials) throws(DatastoreError) {
        try checkRegular(attributes)
        if let root = roots[attributes.fsid] { try root.checkWritable() }
        guard mayWrite(attributes, as: credentials) else {
            throw DatastoreError(.access, "write: user \(credentials.uid) may not")
        }
    }

    /// The user that `credentials` act as on the export `root`; may ask the name service for groups.
    func effective(_ credentials: Credentials, on root: ExportRoot) -> Credentials {
        guard impersonation.isPossible else { return impersonation.server }
        let squashed = root.export.squashesRoot ? credentials.rootSquashed : credentials
        return groups.completed(squashed)
    }

    /// For whom data of a file with `attributes` is written; nil for the server itself.
    func writer(
        for credentials: Credentials, _ attributes: FileAttributes?, in root: ExportRoot
    ) -> DataWriter? {
        guard credentials.uid != impersonation.server.uid || root.export.squashesRoot else { return nil }
        return DataWriter(for: effective(credentials, on: root), attributes, in: root, impersonation)
    }

    private func checkRegular(_ attributes: FileAttributes) throws(DatastoreError) {
        switch attributes.type {
        case .regular: return
        case .directory: throw DatastoreError(.isDirectory, "a directory has no data")
        default: throw DatastoreError(.invalidArgument, "only a regular file has data")
        }
    }

    /// Whether the class of users that `credentials` belong to has one of `bits`, or they are the owner or root.
    private func permits(_ attributes: FileAttributes, bits: UInt32, as credentials: Credentials) -> Bool {
        guard impersonation.isPossible else {
            return permits(attributes, bits: bits, effective: impersonation.server)
        }
        let isSquashed = roots[attributes.fsid]?.export.squashesRoot ?? true
        let effective = isSquashed ? credentials.rootSquashed : credentials
        return permits(attributes, bits: bits, effective: groups.completed(effective))
    }

    private func permits(_ attributes: FileAttributes, bits: UInt32, effective: Credentials) -> Bool {
        if effective.uid == 0 || effective.uid == attributes.uid { return true }
        let shift: UInt32 = effective.isMember(of: attributes.gid) ? 3 : 0
        return attributes.mode >> shift & bits != 0
    }
}
