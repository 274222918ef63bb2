/// How durable a write is to be, or is, when it is answered (`stable_how`, RFC 1813 section 3.3.7); the raw values are
/// the protocol's.
public enum WriteStability: UInt32, Sendable, Comparable {
    /// It may rest in memory until a COMMIT.
    case unstable = 0
    /// The data, and what is needed to read it back, is on stable storage.
    case dataSync = 1
    /// The data and all attributes are on stable storage.
    case fileSync = 2

    /// Whether `left` promises less.
    public static func < (left: WriteStability, right: WriteStability) -> Bool { left.rawValue < right.rawValue }
}

/// What READ answers; the bytes are in the caller's buffer.
public struct ReadResult: Sendable {
    /// The number of bytes, fewer than asked for only at the end of the file.
    public var count: Int
    /// Whether the end of the file was reached.
    public var isEndOfFile: Bool
    /// The file's attributes.
    public var attributes: FileAttributes
}

/// What WRITE answers.
public struct WriteResult: Sendable {
    /// The number of bytes written: all of them, or those that there was room for.
    public var count: Int
    /// How durable they are; never less than was asked for.
    public var committed: WriteStability
    /// The verifier as it stood before the write.
    public var verifier: UInt64
    /// The file before and after.
    public var wcc: WeakCacheConsistency
}

/// What COMMIT answers.
public struct CommitResult: Sendable {
    /// The verifier: equal to that of the writes it covers, if nothing of them was lost.
    public var verifier: UInt64
    /// The file before and after.
    public var wcc: WeakCacheConsistency
}
