import Glibc

/// A failed operation: which status the protocol answers with, and a line for the log.
public struct DatastoreError: Error, Hashable, Sendable {
    /// The kinds of failure, each one status of NFSv3 (`nfsstat3`, RFC 1813 section 2.6).
    public enum Code: Hashable, Sendable, CaseIterable {
        /// The operation is the owner's or the superuser's (`NFS3ERR_PERM`).
        case notOwner
        /// No such file or directory (`NFS3ERR_NOENT`).
        case noEntry
        /// The storage failed (`NFS3ERR_IO`).
        case io
        /// No such device (`NFS3ERR_NXIO`, `NFS3ERR_NODEV`).
        case noDevice
        /// The caller has no permission (`NFS3ERR_ACCES`).
        case access
        /// The name is taken (`NFS3ERR_EXIST`).
        case exists
        /// The two ends are not in one file system (`NFS3ERR_XDEV`).
        case crossDevice
        /// A directory was needed (`NFS3ERR_NOTDIR`).
        case notDirectory
        /// Anything but a directory was needed (`NFS3ERR_ISDIR`).
        case isDirectory
        /// An argument makes no sense for this object (`NFS3ERR_INVAL`).
        case invalidArgument
        /// The file would grow past the file system's limit (`NFS3ERR_FBIG`).
        case fileTooBig
        /// No space left (`NFS3ERR_NOSPC`).
        case noSpace
        /// The export or its file system is read-only (`NFS3ERR_ROFS`).
        case readOnly
        /// The file has as many names as the file system allows (`NFS3ERR_MLINK`).
        case tooManyLinks
        /// A name is longer than the file system allows (`NFS3ERR_NAMETOOLONG`).
        case nameTooLong
        /// The directory has entries (`NFS3ERR_NOTEMPTY`).
        case notEmpty
        /// The owner's quota is used up (`NFS3ERR_DQUOT`).
        case quota
        /// The handle's file is gone (`NFS3ERR_STALE`).
        case stale
        /// The bytes are no handle that this server issued (`NFS3ERR_BADHANDLE`).
        case badHandle
        /// The guard of SETATTR names another change time (`NFS3ERR_NOT_SYNC`).
        case notSync
        /// The cookie names no place in the directory (`NFS3ERR_BAD_COOKIE`).
        case badCookie
        /// The file system cannot do this (`NFS3ERR_NOTSUPP`).
        case notSupported
        /// Not even one entry fits the reply that the caller allows (`NFS3ERR_TOOSMALL`).
        case tooSmall
        /// The server failed in a way no other status tells (`NFS3ERR_SERVERFAULT`).
        case serverFault
        /// An object of this type cannot be made (`NFS3ERR_BADTYPE`).
        case badType
        /// The server is short of something for now, the caller tries again (`NFS3ERR_JUKEBOX`).
        case retryLater
        /// The store was cut off from the server: an open descriptor says that its file is not there, or that the file
        /// system is shut down. Nothing is known of any file, and what a client asked for may be as it was. No status says
        /// that, so that no answer is given: the client asks again over a new connection.
        case storeLost
    }

    /// Which status the protocol answers with.
    public let code: Code
    /// What was being done and why it failed, for a person.
    public let message: String

    /// An error of kind `code`.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The error that `number`, a value of `errno`, stands for.
    public init(errorNumber number: Int32, _ operation: String) {
        self.init(Self.code(of: number), "\(operation): \(String(cString: strerror(number)))")
    }

    /// The error that `number` stands for when a call on an open descriptor failed with it, which cannot mean that there
    /// is no such name.
    static func ofDescriptor(_ number: Int32, _ operation: String) -> DatastoreError {
        let error = DatastoreError(errorNumber: number, operation)
        return number == ENOENT ? DatastoreError(.storeLost, error.message) : error
    }

    /// The error that the last system call of this thread left in `errno`.
    public static func lastSystemError(_ operation: String) -> DatastoreError {
        DatastoreError(errorNumber: errno, operation)
    }

    /// What is not in the list is the storage's way to fail: file systems over a network have many.
    private static func code(of number: Int32) -> Code {
        codes[number] ?? .io
    }

    private static let codes: [Int32: Code] = [
        EPERM: .notOwner, ENOENT: .noEntry, EIO: .io, ENXIO: .noDevice, ENODEV: .noDevice, EACCES: .access,
        EEXIST: .exists, EXDEV: .crossDevice, ENOTDIR: .notDirectory, EISDIR: .isDirectory,
        EINVAL: .invalidArgument, EFBIG: .fileTooBig, EOVERFLOW: .fileTooBig, ENOSPC: .noSpace, EROFS: .readOnly,
        EMLINK: .tooManyLinks, ENAMETOOLONG: .nameTooLong, ENOTEMPTY: .notEmpty, EDQUOT: .quota, ESTALE: .stale,
        EOPNOTSUPP: .notSupported, ENOSYS: .notSupported, EBUSY: .access, ETXTBSY: .access, ELOOP: .invalidArgument,
        ESHUTDOWN: .storeLost, ENOTCONN: .storeLost, EMFILE: .retryLater, ENFILE: .retryLater, ENOMEM: .retryLater,
        EAGAIN: .retryLater, ETIMEDOUT: .retryLater, EINTR: .retryLater, EKEYEXPIRED: .access, EKEYREVOKED: .access,
        EKEYREJECTED: .access, ENOKEY: .access, EBADF: .serverFault, EFAULT: .serverFault, EUSERS: .quota,
    ]
}

extension DatastoreError: CustomStringConvertible {
    /// One line: the kind and what happened.
    public var description: String { "\(message) (\(code))" }
}
