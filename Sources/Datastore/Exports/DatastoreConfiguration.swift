/// What a datastore serves and how.
public struct DatastoreConfiguration: Sendable {
    /// A directory to serve.
    public struct Export: Sendable {
        /// The directory.
        public var path: String
        /// Whether clients may change nothing.
        public var isReadOnly: Bool
        /// Whether user 0 and group 0 of clients count as nobody.
        public var squashesRoot: Bool
        /// Who may mount it.
        public var allowedClients: [AddressRange]

        /// Serves `path`, read-write and to this machine unless told otherwise.
        public init(
            path: String, isReadOnly: Bool = false, squashesRoot: Bool = false,
            allowedClients: [AddressRange] = AddressRange.loopback
        ) {
            self.path = path
            self.isReadOnly = isReadOnly
            self.squashesRoot = squashesRoot
            self.allowedClients = allowedClients
        }
    }

    /// How file handles find their files again.
    public enum HandleScheme: Sendable, CaseIterable {
        /// The kernel's handles where the file system has them and the process may open them, else the other.
        case automatic
        /// Inode number and birth time, found through a table of paths and a walk of the export.
        case inodeTable
    }

    /// The directories to serve.
    public var exports: [Export]
    /// Where the handle key is kept; nil for the default place, see ``StateDirectory``.
    public var stateDirectory: String?
    /// How file handles find their files again.
    public var handleScheme = HandleScheme.automatic
    /// Whether the server looks into disk images.
    public var introspects = true
    /// The memory for cached blocks, in bytes.
    public var cacheSize = 256 << 20

    /// Serves `exports`.
    public init(exports: [Export], stateDirectory: String? = nil) {
        self.exports = exports
        self.stateDirectory = stateDirectory
    }
}
