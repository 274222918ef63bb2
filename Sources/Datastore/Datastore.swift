import Glibc
import Logging
import Synchronization

/// Directories served to clients: names, attributes and access control here, data in the I/O path.
///
/// All methods may block and are called on an I/O thread unless they say otherwise. They take credentials as the
/// client sent them and map them for the export. An instance sets the process's umask to 0, because clients say
/// themselves which mode a new file gets. It needs `/proc`.
public final class Datastore: Sendable {
    /// What is served and how.
    public let configuration: DatastoreConfiguration
    /// The directories that are served.
    public let exports: [Export]

    let roots: [UInt64: ExportRoot]
    let handles: HandleCodec
    let impersonation = Impersonation()
    let locks = StripedLocks()
    let logger: Logger
    /// Who is told of what happens to files other than by reading and writing.
    let fileObserver = Mutex<(any FileObserver)?>(nil)

    private static let keyCount = 32

    /// Opens the exports and reads the handle key, or makes one on the first start.
    ///
    /// Throws when an export is missing or no directory, when two exports overlap (a file would have two handles), or
    /// when clients could reach the state directory and with it the key.
    public init(configuration: DatastoreConfiguration, logger: Logger) throws(DatastoreError) {
        umask(0)
        self.configuration = configuration
        self.logger = logger
        var opened: [ExportRoot] = []
        for export in configuration.exports {
            opened.append(try ExportRoot(export, scheme: configuration.handleScheme))
        }
        exports = opened.map(\.export)
        try Self.checkDisjoint(exports.map(\.path))
        let state = try StateDirectory(configured: configuration.stateDirectory)
        for export in exports where Self.path(state.path, isIn: export.path) {
            throw DatastoreError(
                .invalidArgument,
                "state directory \(state.path): lies in the export \(export.path), whose clients could read it")
        }
        handles = HandleCodec(key: try Self.readKey(state))
        roots = Dictionary(opened.map { ($0.export.id, $0) }, uniquingKeysWith: { first, _ in first })
        for root in opened {
            let scheme = root.issuesKernelHandles ? "the kernel's handles" : "inode numbers"
            logger.debug("\(root.export.path): exported, files are found again by \(scheme)")
        }
        if !impersonation.isPossible {
            logger.notice("not root: all clients act as user \(impersonation.server.uid)")
        }
    }

    private static func readKey(_ state: StateDirectory) throws(DatastoreError) -> [UInt8] {
        let key = try state.readOrCreate("handle-key") {
            var generator = SystemRandomNumberGenerator()
            return (0..<keyCount).map { _ in UInt8.random(in: 0 ... .max, using: &generator) }
        }
        guard key.count == keyCount else {
            throw DatastoreError(
                .serverFault, "\(state.path)/handle-key: \(key.count) bytes instead of \(keyCount)")
        }
        return key
    }

    private static func checkDisjoint(_ paths: [String]) throws(DatastoreError) {
        for (index, path) in paths.enumerated() {
            for other in paths.dropFirst(index + 1) where self.path(path, isIn: other) || self.path(other, isIn: path) {
                throw DatastoreError(.invalidArgument, "the exports \(path) and \(other) overlap")
            }
        }
    }

    static func path(_ path: String, isIn directory: String) -> Bool {
        path == directory || path.hasPrefix(directory.hasSuffix("/") ? directory : directory + "/")
    }
}

/// Who keeps files open or their data cached, and must know of changes that do not come as a WRITE.
protocol FileObserver: Sendable {
    /// Called around a change of the size of `file` to `size` bytes, which `change` makes.
    func changeSize(
        of file: OwnedDescriptor, to size: Int, _ change: () throws(DatastoreError) -> Void
    ) throws(DatastoreError)

    /// Called when the file's last name is gone: its handles are stale, its space is freed once nobody has it open.
    func lastNameRemoved(device: UInt64, inode: UInt64)
}
