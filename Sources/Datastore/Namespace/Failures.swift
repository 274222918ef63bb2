/// The failure of an operation that changes one object: clients get the object's attributes all the same.
public struct MutationFailure: Error, Sendable {
    /// What went wrong.
    public var error: DatastoreError
    /// The directory (or, of SETATTR, WRITE and COMMIT, the file) before and after.
    public var wcc: WeakCacheConsistency

    /// The failure `error` on an object of which `wcc` is known.
    public init(_ error: DatastoreError, wcc: WeakCacheConsistency = WeakCacheConsistency()) {
        self.error = error
        self.wcc = wcc
    }
}

/// The failure of a RENAME, which has two directories.
public struct RenameFailure: Error, Sendable {
    /// What went wrong.
    public var error: DatastoreError
    /// The directory of the old name.
    public var source: WeakCacheConsistency
    /// The directory of the new name.
    public var destination: WeakCacheConsistency
}

/// The failure of a LINK.
public struct LinkFailure: Error, Sendable {
    /// What went wrong.
    public var error: DatastoreError
    /// The file to be linked, as it is now.
    public var attributes: FileAttributes?
    /// The directory of the new name.
    public var directory: WeakCacheConsistency
}
