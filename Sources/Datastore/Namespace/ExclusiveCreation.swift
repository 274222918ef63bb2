import CLinux
import Glibc

/// The verifier of an exclusive CREATE, kept where it survives a restart: in an extended attribute of the new file.
///
/// RFC 1813 section 3.3.8 suggests the file's times. Those are the user's: whatever marks such a time, a user may set
/// it, and would find another in its place. Where a file system keeps no extended attributes, CREATE answers
/// `notSupported`, which the RFC allows for and upon which clients ask for a guarded one.
enum ExclusiveCreation {
    private static let name = "user.introspect.verifier"

    /// Notes that a request with `verifier` made `file`; throws `notSupported` when the file system cannot keep it.
    static func store(_ verifier: UInt64, in file: OwnedDescriptor) throws(DatastoreError) {
        let status = withUnsafeBytes(of: verifier.littleEndian) {
            linux_setxattr(file.descriptorPath, name, $0.baseAddress, $0.count)
        }
        guard status == 0 else { throw DatastoreError.lastSystemError("create: keep the verifier") }
    }

    /// Whether `file` was made by an exclusive CREATE with `verifier` and is as it was then.
    static func holds(_ verifier: UInt64, in file: OwnedDescriptor) throws(DatastoreError) -> Bool {
        let attributes = try file.attributes()
        guard attributes.type == .regular, attributes.size == 0 else { return false }
        var stored: UInt64 = 0
        let count = withUnsafeMutableBytes(of: &stored) {
            linux_getxattr(file.descriptorPath, name, $0.baseAddress, $0.count)
        }
        return count == MemoryLayout<UInt64>.size && UInt64(littleEndian: stored) == verifier
    }

    /// The client has set attributes of the new file, as it does once it knows that the file is its own: no repeated
    /// request is to come.
    static func forget(in file: OwnedDescriptor) {
        guard file.type == .regular else { return }
        _ = linux_removexattr(file.descriptorPath, name)
    }
}
