import BlockStorage
import CLinux
import Glibc

/// An open file or directory of an export; closed when the last reference goes.
final class OwnedDescriptor: Sendable {
    /// The descriptor.
    let rawValue: Int32
    /// The export that the file was reached through.
    let root: ExportRoot
    /// The number of the file's device.
    let device: UInt64
    /// The file's number on the device. No other file has both numbers as long as the descriptor is open.
    let inode: UInt64
    /// The attributes that the file had when it was opened.
    let openedAttributes: FileAttributes

    /// Takes `rawValue`, which is closed also when this throws.
    init(taking rawValue: Int32, in root: ExportRoot) throws(DatastoreError) {
        var status = stat()
        guard fstat(rawValue, &status) == 0 else {
            let error = DatastoreError.ofDescriptor(errno, "stat")
            close(rawValue)
            throw error
        }
        guard let attributes = FileAttributes(status, fsid: root.export.id) else {
            close(rawValue)
            throw DatastoreError(.serverFault, "an object of an unknown type, mode \(status.st_mode)")
        }
        self.rawValue = rawValue
        self.root = root
        openedAttributes = attributes
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }

    deinit {
        LateClose.close(rawValue, type)
    }

    /// What kind of object this is.
    var type: FileType { openedAttributes.type }

    /// A path by which the kernel knows the file now, for messages; nil when it knows none.
    ///
    /// As ``ByteString/description`` shows it, which no two paths do alike. Of a file that was opened by its handle, and that
    /// nobody has looked up by a name since, the kernel says `/`.
    var currentPath: String? {
        guard let path = Self.path(of: rawValue), path != [0x2F] || type == .directory else { return nil }
        return ByteString(path).description
    }

    /// The path of an open file as bytes; nil with `errno` set when the kernel knows none, or none that it can say.
    static func path(of descriptor: Int32) -> [UInt8]? {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/fd/\(descriptor)", &buffer, buffer.count)
        return count > 0 ? buffer[..<count].map { UInt8(bitPattern: $0) } : nil
    }

    /// The name under `/proc` that opens the same file again, whatever has become of its name.
    var descriptorPath: String { "/proc/self/fd/\(rawValue)" }

    /// Opens the same file anew with `flags`; the kernel checks the calling thread's permission for the file alone.
    func reopened(_ flags: Int32) throws(DatastoreError) -> OwnedDescriptor {
        let descriptor = open(descriptorPath, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        guard descriptor >= 0 else { throw DatastoreError.lastSystemError("open") }
        return try OwnedDescriptor(taking: descriptor, in: root)
    }

    /// Whether both are the same file.
    func isSameFile(as other: OwnedDescriptor) -> Bool {
        inode == other.inode && device == other.device
    }

    /// The file's attributes now.
    func attributes() throws(DatastoreError) -> FileAttributes {
        var status = stat()
        guard fstat(rawValue, &status) == 0 else { throw DatastoreError.ofDescriptor(errno, "stat") }
        guard let attributes = FileAttributes(status, fsid: root.export.id) else {
            throw DatastoreError(.serverFault, "an object of an unknown type, mode \(status.st_mode)")
        }
        return attributes
    }

    /// When the file was made; nil when its file system does not tell.
    var birthTime: FileTime? {
        var seconds: Int64 = 0
        var nanoseconds: UInt32 = 0
        guard linux_birth_time(rawValue, &seconds, &nanoseconds) == 0 else { return nil }
        return FileTime(seconds: seconds, nanoseconds: nanoseconds)
    }
}
