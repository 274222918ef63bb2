import Datastore
import SunRPC

extension XDRWriter {
    /// CREATE3res, MKDIR3res, SYMLINK3res and MKNOD3res on success, which are alike (RFC 1813 section 3.3.8).
    mutating func write(_ created: CreatedObject) {
        write(NFSStatus.ok)
        writeOptional(created.handle)
        writeOptional(created.attributes)
        write(created.directory)
    }

    /// The results of a failed call that would have changed one object: its wcc_data follows the status.
    mutating func write(_ failure: MutationFailure) {
        write(NFSStatus(failure.error))
        write(failure.wcc)
    }

    /// The results of a failed call that changes nothing, where attributes follow the status.
    mutating func write(_ error: DatastoreError, attributes: FileAttributes?) {
        write(NFSStatus(error))
        writeOptional(attributes)
    }
}
