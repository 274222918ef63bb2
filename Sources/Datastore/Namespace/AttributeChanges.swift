/// New values for some attributes (`sattr3`, RFC 1813 section 2.6); nil leaves one as it is.
public struct AttributeChanges: Equatable, Sendable {
    /// A new time.
    public enum Time: Equatable, Sendable {
        /// The server's clock (`SET_TO_SERVER_TIME`).
        case now
        /// The client's choice (`SET_TO_CLIENT_TIME`).
        case at(FileTime)
    }

    /// Permission bits, set-user-id, set-group-id and sticky; other bits are ignored.
    public var mode: UInt32?
    /// The owner.
    public var uid: UInt32?
    /// The group.
    public var gid: UInt32?
    /// The size in bytes; a longer file grows by zeros.
    public var size: UInt64?
    /// When the data was last read.
    public var accessTime: Time?
    /// When the data was last changed.
    public var modificationTime: Time?

    /// The given changes and no others.
    public init(
        mode: UInt32? = nil, uid: UInt32? = nil, gid: UInt32? = nil, size: UInt64? = nil,
        accessTime: Time? = nil, modificationTime: Time? = nil
    ) {
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.accessTime = accessTime
        self.modificationTime = modificationTime
    }

    /// Whether nothing changes.
    public var isEmpty: Bool { self == AttributeChanges() }

    /// The new times, access before modification.
    var times: [Time] { [accessTime, modificationTime].compactMap(\.self) }
}

/// How CREATE treats a file that is there (`createhow3`, RFC 1813 section 3.3.8).
public enum CreateMode: Equatable, Sendable {
    /// Takes it, and honours nothing but a new size.
    case unchecked(AttributeChanges)
    /// Fails.
    case guarded(AttributeChanges)
    /// Fails unless it was made by a request with the same verifier: a repeated request.
    case exclusive(verifier: UInt64)
}

/// What MKNOD makes (`mknoddata3`).
public enum SpecialFile: Equatable, Sendable {
    /// A block device.
    case blockDevice(major: UInt32, minor: UInt32)
    /// A character device.
    case characterDevice(major: UInt32, minor: UInt32)
    /// A socket.
    case socket
    /// A named pipe.
    case fifo
}
