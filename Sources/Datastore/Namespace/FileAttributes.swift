import CLinux
import Glibc

/// A moment on the file system's clock (`nfstime3`).
public struct FileTime: Hashable, Sendable {
    /// Seconds since the beginning of 1970, UTC.
    public var seconds: Int64
    /// Nanoseconds of the second, less than 1,000,000,000.
    public var nanoseconds: UInt32

    /// The moment `seconds` and `nanoseconds` after the beginning of 1970.
    public init(seconds: Int64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: UInt32(truncatingIfNeeded: time.tv_nsec))
    }
}

/// What kind of object a handle names (`ftype3`); the raw values are the protocol's.
public enum FileType: UInt32, Sendable, CaseIterable {
    /// A regular file.
    case regular = 1
    /// A directory.
    case directory = 2
    /// A block special file.
    case blockDevice = 3
    /// A character special file.
    case characterDevice = 4
    /// A symbolic link.
    case symbolicLink = 5
    /// A socket.
    case socket = 6
    /// A named pipe.
    case fifo = 7

    init?(mode: mode_t) {
        switch mode & S_IFMT {
        case S_IFREG: self = .regular
        case S_IFDIR: self = .directory
        case S_IFBLK: self = .blockDevice
        case S_IFCHR: self = .characterDevice
        case S_IFLNK: self = .symbolicLink
        case S_IFSOCK: self = .socket
        case S_IFIFO: self = .fifo
        default: return nil
        }
    }
}

/// The attributes of a file or directory (`fattr3`, RFC 1813 section 2.6).
public struct FileAttributes: Equatable, Sendable {
    /// What kind of object this is.
    public var type: FileType
    /// The permission bits, with set-user-id, set-group-id and sticky: `mode & 07777`.
    public var mode: UInt32
    /// The number of names.
    public var linkCount: UInt32
    /// The owner.
    public var uid: UInt32
    /// The group.
    public var gid: UInt32
    /// The size in bytes.
    public var size: UInt64
    /// The disk space in use, in bytes.
    public var used: UInt64
    /// The major number of a device.
    public var deviceMajor: UInt32
    /// The minor number of a device.
    public var deviceMinor: UInt32
    /// The export, the same over restarts and whatever device number the file system has.
    public var fsid: UInt64
    /// The inode number.
    public var fileid: UInt64
    /// When the data was last read.
    public var accessTime: FileTime
    /// When the data was last changed.
    public var modificationTime: FileTime
    /// When data or attributes were last changed.
    public var changeTime: FileTime

    /// The attributes of one object.
    public init(
        type: FileType, mode: UInt32, linkCount: UInt32, uid: UInt32, gid: UInt32, size: UInt64, used: UInt64,
        deviceMajor: UInt32 = 0, deviceMinor: UInt32 = 0, fsid: UInt64, fileid: UInt64,
        accessTime: FileTime, modificationTime: FileTime, changeTime: FileTime
    ) {
        self.type = type
        self.mode = mode
        self.linkCount = linkCount
        self.uid = uid
        self.gid = gid
        self.size = size
        self.used = used
        self.deviceMajor = deviceMajor
        self.deviceMinor = deviceMinor
        self.fsid = fsid
        self.fileid = fileid
        self.accessTime = accessTime
        self.modificationTime = modificationTime
        self.changeTime = changeTime
    }

    /// The attributes that fstat(2) gave of an object of the export `fsid`; nil for a type that NFS does not know.
    init?(_ status: stat, fsid: UInt64) {
        guard let type = FileType(mode: status.st_mode) else { return nil }
        let device = UInt64(status.st_rdev)
        // A file system over the network may say anything.
        let (used, isTooMuch) = UInt64(max(0, status.st_blocks)).multipliedReportingOverflow(by: 512)
        self.init(
            type: type, mode: status.st_mode & 0o7777, linkCount: UInt32(truncatingIfNeeded: status.st_nlink),
            uid: status.st_uid, gid: status.st_gid, size: UInt64(max(0, status.st_size)),
            used: isTooMuch ? .max : used, deviceMajor: linux_device_major(device),
            deviceMinor: linux_device_minor(device), fsid: fsid, fileid: UInt64(status.st_ino),
            accessTime: FileTime(status.st_atim), modificationTime: FileTime(status.st_mtim),
            changeTime: FileTime(status.st_ctim))
    }

    /// The part that weak cache consistency data carries.
    public var consistency: WeakCacheConsistency.Attributes {
        WeakCacheConsistency.Attributes(size: size, modificationTime: modificationTime, changeTime: changeTime)
    }
}

/// What an operation found and what it left, so that clients can tell whether their caches are still good
/// (`wcc_data`, RFC 1813 section 2.6).
public struct WeakCacheConsistency: Equatable, Sendable {
    /// The part of the attributes that tells of a change (`wcc_attr`).
    public struct Attributes: Equatable, Sendable {
        /// The size in bytes.
        public var size: UInt64
        /// When the data was last changed.
        public var modificationTime: FileTime
        /// When data or attributes were last changed.
        public var changeTime: FileTime

        /// The part of the attributes that tells of a change.
        public init(size: UInt64, modificationTime: FileTime, changeTime: FileTime) {
            self.size = size
            self.modificationTime = modificationTime
            self.changeTime = changeTime
        }

        /// Whether nobody has written to the file between these attributes and `other`.
        func hasSameContents(as other: Attributes) -> Bool {
            size == other.size && modificationTime == other.modificationTime
        }
    }

    /// What the operation found; nil when another operation of this server may have come between.
    public var before: Attributes?
    /// What the operation left; nil when that could not be found out.
    public var after: FileAttributes?

    /// Data of an operation that found `before` and left `after`.
    public init(before: Attributes? = nil, after: FileAttributes? = nil) {
        self.before = before
        self.after = after
    }
}
