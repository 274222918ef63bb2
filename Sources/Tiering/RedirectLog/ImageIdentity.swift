/// What names an image in the log for as long as the image exists: through renames and restarts.
///
/// Which bytes these are is the caller's affair; the same file must give the same bytes, and another file others.
public struct ImageIdentity: Hashable, Sendable {
    /// The most bytes that fit a record.
    public static let maximumCount = 64

    /// The name.
    public let bytes: [UInt8]

    /// The identity that `bytes` are, or nil when there are none or too many.
    public init?(_ bytes: some Collection<UInt8>) {
        guard (1...Self.maximumCount).contains(bytes.count) else { return nil }
        self.bytes = Array(bytes)
    }
}
