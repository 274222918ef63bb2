/// What LOOKUP found.
public struct LookupResult: Sendable {
    /// The object.
    public var handle: FileHandle
    /// The object's attributes.
    public var attributes: FileAttributes
    /// The attributes of the directory that was searched.
    public var directory: FileAttributes?
}

/// The rights that ACCESS asks for and grants; the raw value is the protocol's bit mask (RFC 1813 section 3.3.4).
public struct AccessRights: OptionSet, Sendable {
    /// The protocol's bits.
    public let rawValue: UInt32

    /// The rights of a bit mask.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Reading a file's data or a directory's names (`ACCESS3_READ`).
    public static let read = AccessRights(rawValue: 0x01)
    /// Looking up a name in a directory (`ACCESS3_LOOKUP`).
    public static let lookup = AccessRights(rawValue: 0x02)
    /// Rewriting data or changing entries (`ACCESS3_MODIFY`).
    public static let modify = AccessRights(rawValue: 0x04)
    /// Writing new data or adding entries (`ACCESS3_EXTEND`).
    public static let extend = AccessRights(rawValue: 0x08)
    /// Deleting a directory's entries (`ACCESS3_DELETE`).
    public static let delete = AccessRights(rawValue: 0x10)
    /// Running a file (`ACCESS3_EXECUTE`).
    public static let execute = AccessRights(rawValue: 0x20)
}

/// What ACCESS answers.
public struct AccessResult: Sendable {
    /// Those of the rights asked for that the caller has.
    public var granted: AccessRights
    /// The object's attributes.
    public var attributes: FileAttributes
}

/// What READLINK answers.
public struct LinkTarget: Sendable {
    /// The link's text, in no particular encoding.
    public var bytes: [UInt8]
    /// The link's attributes.
    public var attributes: FileAttributes
}

/// What CREATE, MKDIR, SYMLINK and MKNOD made.
public struct CreatedObject: Sendable {
    /// The new object.
    public var handle: FileHandle
    /// The new object's attributes.
    public var attributes: FileAttributes
    /// The directory before and after.
    public var directory: WeakCacheConsistency
}

/// What RENAME changed.
public struct RenameResult: Sendable {
    /// The directory of the old name.
    public var source: WeakCacheConsistency
    /// The directory of the new name.
    public var destination: WeakCacheConsistency
}

/// What LINK changed.
public struct LinkResult: Sendable {
    /// The file, with one name more.
    public var attributes: FileAttributes?
    /// The directory of the new name.
    public var directory: WeakCacheConsistency
}

/// How much READDIR and READDIRPLUS tell of an entry.
public enum DirectoryDetail: Sendable {
    /// Name, file number and cookie.
    case names
    /// Attributes and handle as well, where they are to be had.
    case attributesAndHandles
}

/// One entry of a directory, valid for the time of the call that hands it out.
public struct DirectoryEntry {
    /// The name's bytes.
    public let name: UnsafeRawBufferPointer
    /// The inode number.
    public let fileid: UInt64
    /// Where a later call goes on after this entry.
    public let cookie: UInt64
    /// The attributes, when they were asked for and are to be had.
    public let attributes: FileAttributes?
    /// The handle, when it was asked for and is to be had.
    public let handle: FileHandle?
}

/// What READDIR and READDIRPLUS answer besides the entries.
public struct DirectoryPage: Sendable {
    /// Whether the last entry of the directory was handed out (`eof`).
    public var isEndOfDirectory: Bool
    /// The cookie verifier, to be sent back with a cookie.
    public var verifier: UInt64
    /// The directory's attributes.
    public var attributes: FileAttributes?
}

/// How full a file system is (FSSTAT, RFC 1813 section 3.3.18).
public struct FileSystemStatus: Sendable {
    /// The size in bytes.
    public var totalBytes: UInt64
    /// The free space in bytes.
    public var freeBytes: UInt64
    /// The free space in bytes that users other than root may take.
    public var availableBytes: UInt64
    /// The number of inodes.
    public var totalFiles: UInt64
    /// The number of free inodes.
    public var freeFiles: UInt64
    /// The number of free inodes that users other than root may take.
    public var availableFiles: UInt64
    /// The attributes of the object that was asked about.
    public var attributes: FileAttributes
}

/// What a file system can do (FSINFO, RFC 1813 section 3.3.19), without the transfer sizes, which are the
/// protocol front end's.
public struct FileSystemInformation: Sendable {
    /// The most bytes a file can have.
    public var maximumFileSize: UInt64
    /// How finely the file system keeps times (`time_delta`).
    public var timeGranularity: FileTime
    /// Whether a file can have several names (`FSF3_LINK`).
    public var supportsHardLinks: Bool
    /// Whether there are symbolic links (`FSF3_SYMLINK`).
    public var supportsSymbolicLinks: Bool
    /// The attributes of the object that was asked about.
    public var attributes: FileAttributes
}

/// What names and links are possible (PATHCONF, RFC 1813 section 3.3.20).
///
/// Names that are too long are refused, never cut; giving files away is root's; case counts and is kept.
public struct PathConfiguration: Sendable {
    /// The most names one file can have.
    public var maximumLinks: UInt32
    /// The longest name, in bytes.
    public var maximumNameLength: UInt32
    /// The attributes of the object that was asked about.
    public var attributes: FileAttributes
}
