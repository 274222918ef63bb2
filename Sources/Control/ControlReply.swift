public import Datastore

/// What the server answers: one line of JSON with the part that was asked for, or with an error.
public struct ControlReply: Codable, Sendable {
    /// Why a request was not carried out.
    public struct Failure: Codable, Sendable {
        /// For programs.
        public enum Code: String, Codable, Sendable {
            /// The line was no request.
            case badRequest
            /// No image has that name, or several have.
            case noImage
            /// It was tried, and could not be done.
            case failed
        }

        /// For programs.
        public var code: Code
        /// For people.
        public var message: String
    }

    /// How the server does.
    public struct Status: Codable, Sendable {
        /// The server's process.
        public var processIdentifier: Int32
        /// How long it has run, in seconds.
        public var uptime: Double
        /// The directories that it serves.
        public var exports: [String]
        /// Whether it looks into images.
        public var introspects: Bool
        /// The images that it follows, by how far introspection has come.
        public var images: [String: Int]
        /// The memory of the cache, in bytes.
        public var cacheBytes: Int
        /// The bytes of pages in the cache.
        public var cachedBytes: Int
        /// How the redirect log does.
        public var tier: TierStatus
    }

    /// What warming an image has done.
    public struct Warmed: Codable, Sendable {
        /// The image.
        public var path: String
        /// The bytes of its metadata.
        public var metadataBytes: Int
        /// How many of them are in the cache.
        public var cachedBytes: Int
    }

    /// Why the request was not carried out; nil when it was.
    public var error: Failure?
    /// The answer to `status`.
    public var status: Status?
    /// The answer to `statistics`.
    public var statistics: DatastoreReport?
    /// The answer to `tier`, `drain`, `attach`, `detach`, `resolve` and `forget`: how the redirect log does afterwards.
    public var tier: TierStatus?
    /// The answer to `warm`.
    public var warmed: Warmed?

    init() {}

    init(_ code: Failure.Code, _ message: String) {
        error = Failure(code: code, message: message)
    }
}
