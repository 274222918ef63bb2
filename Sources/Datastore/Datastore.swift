import BlockStorage
import Glibc
import Logging
import Tiering

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

    /// Where the server keeps what must outlive it, and what only its own user may reach.
    public let stateDirectory: String

    let roots: [UInt64: ExportRoot]
    let handles: HandleCodec
    let impersonation = Impersonation()
    let turns = Turns()
    let logger: Logger
    let verifier = WriteVerifier()
    /// The fast device, if there is one.
    let tier: RedirectTier
    /// How images are named in the tier's log.
    let images: ImageIdentities
    let serverLocks: ServerLocks
    /// The files whose times of change a crash may set back.
    let lateTimes: FileRegister
    /// What clients read and write now.
    let files: OpenFiles
    let readAheadPool = IOPool(name: "read-ahead", threadCount: 2)

    private static let keyName = "handle-key"
    private static let keyCount = 32

    /// Opens the exports and reads the handle key, or makes one on the first start.
    ///
    /// Throws when an export is missing or no directory, when two exports overlap (a file would have two handles), or
    /// when clients could reach the state directory and with it the key. So it does as root without `CAP_SETUID` or
    /// `CAP_SETGID`, for whom all clients would be root, and when root is to be squashed by a server that is not root.
    public init(configuration: DatastoreConfiguration, logger: Logger) throws(DatastoreError) {
        umask(0)
        try Self.checkIdentity(impersonation, configuration)
        self.configuration = configuration
        self.logger = logger
        var opened: [ExportRoot] = []
        for export in configuration.exports {
            let patience = configuration.searchPatience
            opened.append(try ExportRoot(export, scheme: configuration.handleScheme, patience: patience))
        }
        exports = opened.map(\.export)
        try Self.checkDisjoint(exports.map(\.path))
        let state = try StateDirectory(configured: configuration.stateDirectory)
        stateDirectory = state.path
        for export in exports where Self.path(state.path, isIn: export.path) {
            throw DatastoreError(
                .invalidArgument,
                "state directory \(state.path): lies in the export \(export.path), whose clients could read it")
        }
        if let maps = configuration.mapsDirectory.flatMap({ realpath($0, nil) }) {
            defer { free(maps) }
            for export in exports where Self.path(String(cString: maps), isIn: export.path) {
                throw DatastoreError(
                    .invalidArgument,
                    "maps directory \(String(cString: maps)): lies in the export \(export.path), whose clients could change it"
                )
            }
        }
        serverLocks = try ServerLocks(
            state, opened, impersonation, ignoresUnseenMarks: configuration.ignoresUnseenMarks, logger)
        let registers = try Registers(in: state)
        lateTimes = registers.lateTimes
        handles = HandleCodec(key: try Self.readKey(state, mayMake: registers.areEmpty))
        try registers.check(handles, served: opened)
        try registers.upgrade()
        guard let cache = PageCache(byteCount: configuration.cacheSize) else {
            throw DatastoreError(.noSpace, "no memory for a cache of \(configuration.cacheSize) bytes")
        }
        let reference = DatastoreReference()
        let tier = try Self.openTier(configuration, registers.redirects, handles, reference, logger)
        self.tier = tier
        let (handles, lateTimes) = (handles, lateTimes)
        let images = ImageIdentities(handles, roots: opened, known: tier.knownImages)
        self.images = images
        files = OpenFiles(
            introspects: configuration.introspects, maps: configuration.mapsDirectory, cache: cache, verifier: verifier,
            logger: logger, lookInterval: configuration.lookInterval,
            noteMoves: { moved in
                reference.datastore?.noteMoves(of: moved)
                reference.datastore?.refuseReplacements()
            }
        ) { descriptor in
            guard let handle = try? handles.handle(of: descriptor), let identity = ImageIdentity(handle) else {
                return nil
            }
            return FileState(
                redirects: tier.isInUse ? FileRedirects(of: descriptor, tier, images) : nil,
                lateTimes: LateTimes(of: identity, in: lateTimes))
        }
        roots = Dictionary(opened.map { ($0.export.id, $0) }, uniquingKeysWith: { first, _ in first })
        for root in opened {
            let scheme = root.issuesKernelHandles ? "the kernel's handles" : "inode numbers"
            logger.debug("\(root.export.path): exported, files are found again by \(scheme)")
        }
        if !impersonation.isPossible {
            logger.notice("not root: all clients act as user \(impersonation.server.uid)")
        }
        reference.datastore = self
        settleRemovals()
        watchRedirectedImages()
        tier.compareStopped()
        findReplacements()
        forgetRefusedImages()
        noteStrandedImages()
        restoreTimes()
        tier.start()
        files.start()
    }

    /// The key of the handles, made on the first start.
    ///
    /// - Parameter mayMake: whether nothing is known by handles of the key.
    private static func readKey(_ state: StateDirectory, mayMake: Bool) throws(DatastoreError) -> [UInt8] {
        let isThere = try state.read(name: keyName) != nil
        guard isThere || mayMake else {
            throw DatastoreError(
                .serverFault,
                """
                \(state.path)/\(keyName) is missing: files are known by it, of some the newest blocks may be in the redirect \
                log alone; put it back from a copy of the state directory, or use another directory (--state) to begin anew \
                without them
                """)
        }
        let key = try state.readOrCreate(keyName) {
            var generator = SystemRandomNumberGenerator()
            return (0..<keyCount).map { _ in UInt8.random(in: 0 ... .max, using: &generator) }
        }
        guard key.count == keyCount else {
            throw DatastoreError(
                .serverFault, "\(state.path)/\(keyName): \(key.count) bytes instead of \(keyCount)")
        }
        // What some file systems leave of a file after a power failure, and what anybody could forge handles with.
        guard key.contains(where: { $0 != 0 }) else {
            throw DatastoreError(
                .serverFault,
                "\(state.path)/\(keyName) has nothing but zeros: put it back from a copy of the state directory")
        }
        return key
    }

    /// Throws where clients would be taken for others than they are.
    private static func checkIdentity(
        _ impersonation: Impersonation, _ configuration: DatastoreConfiguration
    ) throws(DatastoreError) {
        guard !impersonation.isPossible else { return }
        guard impersonation.server.uid != 0 else {
            throw DatastoreError(
                .access,
                "root without CAP_SETUID and CAP_SETGID cannot act for other users, all clients would be root: "
                    + "give the server both, or another user")
        }
        for export in configuration.exports where export.squashesRoot {
            throw DatastoreError(
                .invalidArgument,
                "\(export.path): root cannot be squashed by a server that is not root itself, "
                    + "all clients act as user \(impersonation.server.uid)")
        }
    }

    private static func checkDisjoint(_ paths: [String]) throws(DatastoreError) {
        for (index, path) in paths.enumerated() {
            for other in paths.dropFirst(index + 1) where self.path(path, isIn: other) || self.path(other, isIn: path) {
                throw DatastoreError(.invalidArgument, "the exports \(path) and \(other) overlap")
            }
        }
    }

    /// Looks for disk images in the exports, so that they are known before a client opens them; returns at once.
    public func openImages() {
        files.background.scans.submit(isLong: true) { [self] in
            for root in roots.values {
                files.openImages(under: root)
            }
        }
    }

    /// Puts everything on stable storage and ends the work in the background. No other method is called after this.
    public func close() {
        defer { serverLocks.release() }
        readAheadPool.shutDown()
        for root in roots.values {
            root.inodes.stop()
            root.paths.stop()
        }
        files.finishFarewells()
        tier.stop()
        guard files.close() else { return }
        settleLateTimes()
        tier.noteStop { contents(of: $0, durably: true) }
    }

    static func path(_ path: String, isIn directory: String) -> Bool {
        path == directory || path.hasPrefix(directory.hasSuffix("/") ? directory : directory + "/")
    }
}
