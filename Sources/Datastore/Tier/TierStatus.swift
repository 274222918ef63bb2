/// How the fast device does, for people and programs.
public struct TierStatus: Codable, Sendable {
    /// Whether the device takes part.
    public enum State: String, Codable, Sendable {
        /// No directory is configured, and no image needs one.
        case none
        /// The log is in use, or, in mode `off`, being emptied.
        case attached
        /// The log failed; it takes no writes, and stays so until it is detached and attached.
        case failed
        /// An administrator took it out of use; all blocks are in the images.
        case detached
        /// The log cannot be opened; images that need it are refused.
        case missing
    }

    /// An image with blocks in the log.
    public struct Image: Codable, Sendable {
        /// Its path, as far as it is known.
        public var path: String
        /// The bytes that have their newest contents in the log; nil when the log is not at hand.
        public var liveBytes: Int?
        /// Whether clients are refused, because the log is not at hand, or another program has changed the image.
        public var isRefused: Bool
        /// Whether its file cannot be opened; what the log has of it is kept until it can, or an administrator forgets it.
        public var isOrphaned = false
        /// Why it is refused or orphaned, and what to do.
        public var reason: String?
        /// What tells it from others of the same path, in hexadecimal.
        public var identity = ""
    }

    /// Whether the device takes part.
    public var state: State
    /// `off`, `writethrough` or `writeback`.
    public var mode: String
    /// Of single images: a pattern for their paths, `=`, and their mode.
    public var modes: [String] = []
    /// The directories on the fast devices.
    public var directories: [String] = []
    /// The bytes of the log; 0 when it is not at hand.
    public var size = 0
    /// The part of the log that is in use, from 0 to 1.
    public var fullness = 0.0
    /// The bytes of all images that have their newest contents in the log.
    public var liveBytes = 0
    /// What went wrong, if something has.
    public var failure: String?
    /// The images with blocks in the log, by path.
    public var images: [Image] = []
}
