import Datastore
import SunRPC

extension FileHandle {
    /// What stands in for a handle of no bytes, which the protocol can say and the type cannot: a byte that no
    /// datastore issues, so that the call ends as `NFS3ERR_BADHANDLE`.
    fileprivate static let neverIssued = FileHandle(repeatElement(0, count: 1))
}

extension XDRReader {
    /// `nfs_fh3`: at most 64 bytes (RFC 1813 section 2.6).
    mutating func handle() throws(XDRError) -> FileHandle {
        let start = offset
        let bytes = try opaque(max: FileHandle.maximumCount)
        let handle = bytes.withUnsafeBytes { FileHandle($0) } ?? FileHandle.neverIssued
        guard let handle else { throw XDRError(.invalidValue(0), offset: start) }
        return handle
    }
}

extension XDRWriter {
    /// `nfs_fh3` (RFC 1813 section 2.6).
    mutating func write(_ handle: FileHandle) {
        handle.withUnsafeBytes { writeOpaque($0.bytes) }
    }

    /// `post_op_fh3` (RFC 1813 section 2.6).
    mutating func writeOptional(_ handle: FileHandle?) {
        write(handle != nil)
        if let handle {
            write(handle)
        }
    }
}
