/// What an administrator asks of a running server: one line of JSON.
public struct ControlRequest: Codable, Sendable {
    /// The questions and orders.
    public enum Command: String, Codable, Sendable, CaseIterable {
        /// How the server does.
        case status
        /// All that the server counts and knows of its images.
        case statistics
        /// How the redirect log does.
        case tier
        /// Move what the redirect log has to the images, or to one.
        case drain
        /// Read an image's metadata into the cache.
        case warm
        /// Empty the redirect log and take it out of use.
        case detach
        /// Take the redirect log into use again.
        case attach
        /// Take a redirect log into use that is not the one that was used last.
        case adopt
        /// Serve an image again that another program has changed.
        case resolve
        /// Forget what the redirect log has of an image whose file cannot be opened.
        case forget

        /// Whether it may read or write as much as images have: questions are answered meanwhile.
        var takesLong: Bool {
            switch self {
            case .status, .statistics, .tier: false
            case .drain, .warm, .detach, .attach, .adopt, .resolve, .forget: true
            }
        }
    }

    /// The longest line that a server reads, in bytes.
    public static let longestLine = 16 << 10

    /// What is asked.
    public var command: Command
    /// For ``Command/drain``, ``Command/warm``, ``Command/resolve`` and ``Command/forget``: the image, by its path or by as
    /// much of the path's end as no other image shares.
    public var image: String?
    /// For ``Command/detach``: whether blocks that are out of reach are given up.
    public var givesUp: Bool?
    /// For ``Command/resolve``: whether the redirect log's blocks count; else the file's do.
    public var keepsLog: Bool?

    /// A request.
    public init(_ command: Command, image: String? = nil, givesUp: Bool? = nil, keepsLog: Bool? = nil) {
        self.command = command
        self.image = image
        self.givesUp = givesUp
        self.keepsLog = keepsLog
    }
}
