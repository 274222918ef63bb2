/// The opaque name of a file or directory that clients hold (`nfs_fh3`, RFC 1813 section 2.6).
///
/// At most 64 bytes, stored inline. The bytes that are not used are zero, so that two handles of equal bytes are
/// equal word by word. A value of this type proves nothing: ``Datastore`` checks handles when it opens them.
public struct FileHandle: Sendable {
    /// The most bytes a handle may have (`NFS3_FHSIZE`).
    public static let maximumCount = 64

    var words: InlineArray<8, UInt64>
    /// The number of bytes.
    public let count: Int

    init(words: InlineArray<8, UInt64>, count: Int) {
        self.words = words
        self.count = count
    }

    /// The handle of `bytes`, or nil when there are none or more than 64.
    public init?(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty, bytes.count <= Self.maximumCount else { return nil }
        words = InlineArray(repeating: 0)
        count = bytes.count
        withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
    }

    /// The handle of `bytes`, or nil when there are none or more than 64.
    public init?(_ bytes: some Sequence<UInt8>) {
        let handle = Array(bytes).withUnsafeBytes { FileHandle($0) }
        guard let handle else { return nil }
        self = handle
    }

    /// Calls `body` with the bytes, which are valid for the time of the call.
    public func withUnsafeBytes<R, E>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        let count = count
        return try Swift.withUnsafeBytes(of: words) { bytes throws(E) in
            try body(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        }
    }
}

extension FileHandle: Hashable {
    /// Whether the bytes are the same.
    public static func == (left: FileHandle, right: FileHandle) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<8 where left.words[index] != right.words[index] {
            return false
        }
        return true
    }

    /// Feeds the bytes to `hasher`.
    public func hash(into hasher: inout Hasher) {
        withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension FileHandle: CustomStringConvertible {
    /// The bytes in hexadecimal.
    public var description: String {
        withUnsafeBytes { bytes in
            bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        }
    }
}
