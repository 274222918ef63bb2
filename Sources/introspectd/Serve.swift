import ArgumentParser
import BlockStorage
import CLinux
import Console
import Datastore
import Foundation
import Logging
import NFS
import NIOPosix
import SunRPC
import UnixSignals

struct Serve: AsyncParsableCommand {
    enum Switch: String, ExpressibleByArgument, CaseIterable {
        case on, off
    }

    static let configuration = CommandConfiguration(
        abstract: "Serves a directory as an NFSv3 datastore until it is told to stop.",
        discussion: """
            With no option at all the directory is served read-write to this machine alone. Clients mount it with

              mount -t nfs -o vers=3,nolock,tcp HOST:DIRECTORY /mnt

            and, where rpcbind does not run, with port=2049,mountport=20048 as well. nolock is needed: the server has no \
            file locks yet, and without it a mount waits for them.

            Clients say themselves which user a call is of (AUTH_SYS), and the server believes those whose port is below \
            1024, which only root of a client's machine can have. Allow machines whose root you trust.

            SIGTERM and SIGINT stop the server: requests in flight are answered and everything is put on stable storage. \
            SIGUSR1 writes the report, and so does a stop, without the names of guests' files. SIGHUP does nothing.

            Handles of files are made by the kernel where the process has CAP_DAC_READ_SEARCH, otherwise of inode number \
            and birth time; both stay valid over a restart, as long as the state directory is kept.
            """)

    @Argument(help: "The directory to serve.", completion: .directory)
    var directory: String

    @Option(help: "The address to listen on. (default: 127.0.0.1; all of this machine's with --allow)")
    var listen: String?

    @Option(help: "The TCP port of NFS; 0 for any.")
    var port = 2049

    @Option(help: "The TCP port of MOUNT; 0 for any.")
    var mountPort = 20048

    @Flag(name: .customLong("no-rpcbind"), help: "Do not register with rpcbind.")
    var skipsRPCBind = false

    @Option(help: ArgumentHelp("The memory for the cache: a number with K, M, G or T.", valueName: "size"))
    var cache = ByteSize(bytes: 256 << 20)

    @Option(help: "Whether to look into disk images: on or off. Off passes their bytes through unread.")
    var introspect = Switch.on

    @Option(
        help: ArgumentHelp(
            """
            A directory with maps that introspect-scan export made: PATH.map for the image PATH of the served directory. \
            An image whose map is current is not scanned at the start.
            """, valueName: "directory"),
        completion: .directory)
    var maps: String?

    @Option(
        help: ArgumentHelp(
            """
            A directory on a fast device, for a log that takes guests' metadata and journal writes. What it holds of \
            an image is the newest: keep it, and do not touch images that are served. Given several times, in the \
            same order each time, the log is spread over all of them.
            """, valueName: "directory"),
        completion: .directory)
    var ssd: [String] = []

    @Flag(help: "Keep all of the log in each --ssd directory, so that one device may be lost.")
    var ssdMirror = false

    @Option(
        help: ArgumentHelp(
            """
            off (the log takes nothing, what it has is moved to the images), writethrough (log and image take a write \
            before it is answered) or writeback (the image gets it later). --ssd needs it, or --ssd-mode-for.
            """, valueName: "mode"))
    var ssdMode: DatastoreConfiguration.TierMode?

    @Option(
        name: .customLong("ssd-mode-for"),
        help: ArgumentHelp(
            """
            The mode for images whose path matches a pattern, from the served directory on where it begins with no \
            slash; * matches slashes, too. May be given several times, the first that matches counts.
            """, valueName: "pattern=mode"))
    var imageModes: [ImageMode] = []

    @Option(
        help: ArgumentHelp(
            """
            What the log takes, with commas between: metadata (of guests' file systems, journals included), data (but \
            for streams longer than a mebibyte), or names of classes, as introspect-scan prints them. (default: metadata)
            """, valueName: "classes"))
    var ssdClasses: RedirectClasses?

    @Option(
        help: ArgumentHelp(
            "The size of the log when it is made, at least 64M a stripe. (default: 1G)", valueName: "size"))
    var ssdSize: ByteSize?

    @Option(help: "How many seconds a clean stop moves blocks from the log to the images; the rest stays in the log.")
    var drainTimeout = 60

    @Flag(help: "Let clients change nothing.")
    var readOnly = false

    @Option(
        help: ArgumentHelp(
            "Clients that may connect; may be given several times. (default: loopback only)", valueName: "cidr"))
    var allow: [AddressRange] = []

    @Flag(
        help: """
            Serve clients whose port is 1024 or above, too: every user of an allowed machine can then be any user here, \
            root included. For clients behind address translation, or without root.
            """)
    var insecure = false

    @Flag(help: "Treat user 0 and group 0 of clients as nobody.")
    var rootSquash = false

    @Option(help: "The least level that is logged: trace, debug, info, notice, warning, error or critical.")
    var logLevel = Logger.Level.info

    @Option(
        help: "Where the key of the file handles is kept. (default: $STATE_DIRECTORY, or /var/lib/introspect for root)",
        completion: .directory)
    var state: String?

    @Flag(
        help: """
            Start although a process that cannot be seen from here has locked the directory, or one above or in it, as a \
            server does. Two servers of one directory lose what clients wrote: see to it that there is no other.
            """)
    var ignoreUnseenMarks = false

    @Option(
        help: ArgumentHelp(
            "The socket that introspectctl talks to. (default: `control` in the state directory)", valueName: "path"),
        completion: .file())
    var control: String?

    @Option(
        help: ArgumentHelp(
            """
            Where SIGUSR1 and the end of the server write statistics.json, and IMAGE.runs for each image: what \
            introspection takes each block for.
            """, valueName: "directory"),
        completion: .directory)
    var report: String?

    @Flag(
        help: """
            Have the report name guests' files, too: IMAGE.files says which inode is where on the disk, and its paths. \
            SIGUSR1 alone writes it. Reads the inodes and directories of all images.
            """)
    var reportFiles = false

    func validate() throws {
        try checkArgumentsAreText()
        for (option, value) in [("--port", port), ("--mount-port", mountPort)] where !(0...65_535).contains(value) {
            throw ValidationError("\(option) \(value): expected a number from 0 to 65535")
        }
        try checkSSDOptions()
        guard cache.bytes >= DatastoreConfiguration.smallestCacheSize else {
            throw ValidationError(
                "--cache \(cache): expected at least \(ByteSize(bytes: DatastoreConfiguration.smallestCacheSize)); a "
                    + "number without K, M, G or T is of bytes")
        }
        guard drainTimeout >= 0 else {
            throw ValidationError("--drain-timeout \(drainTimeout): expected a number of seconds")
        }
        if let maps, !isDirectory(maps) { throw ValidationError("--maps \(maps): there is no such directory") }
    }

    func run() async throws {
        let rates = LogRates()
        LoggingSystem.bootstrap { BoundedLogHandler(StreamLogHandler(label: $0, stream: LogOutput()), rates: rates) }
        var logger = Logger(label: "introspectd")
        logger.logLevel = logLevel
        do {
            try await serve(logger)
        } catch let error as DatastoreError {
            throw Self.failure(error.message)
        }
    }

    private func serve(_ logger: Logger) async throws {
        Self.raiseDescriptorLimit()
        MemoryReturn.keepFreedMemory()
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sigusr1, .sighup)
        logMissingLogDirectories(logger)
        let datastore = try Datastore(configuration: configuration, logger: logger)
        logIgnoredSize(datastore, logger)
        let server = Server(datastore: datastore, control: control, requiresPrivilegedPorts: !insecure, logger: logger)
        do {
            try checkIsOutside(datastore.exports, "--report", report)
            try checkIsOutside(datastore.exports, "--control", control)
            try await server.start(
                host: listen ?? defaultHost, port: port, mountPort: mountPort, registers: !skipsRPCBind)
        } catch {
            await server.stop()
            throw Self.failure("\(error)")
        }
        datastore.openImages()
        let reports = IOPool(name: "reports", threadCount: 1)
        signals: for await signal in signals {
            switch signal {
            case .sigusr1:
                reports.submit {
                    guard !datastore.isAdministrationOver else { return }
                    writeReport(of: datastore, namesFiles: reportFiles, logger)
                }
            case .sighup: logger.notice("SIGHUP: there is nothing to load again; SIGTERM stops the server")
            default: break signals
            }
        }
        logger.info("stopping")
        // One that is under way ends at the next image. The last reads none: they may be another server's by then.
        datastore.endAdministration()
        reports.shutDown()
        await server.stop()
        writeReport(of: datastore, namesFiles: false, logger)
    }

    /// Every file that clients use takes two descriptors, and a thousand are soon used up.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// Says why the server does not run, in one line, without the usage text that goes with wrong arguments.
    static func failure(_ message: String) -> ExitCode {
        Foundation.FileHandle.standardError.write(Data("introspectd: \(printable(message))\n".utf8))
        return .failure
    }

    private var configuration: DatastoreConfiguration {
        var export = DatastoreConfiguration.Export(path: directory, isReadOnly: readOnly, squashesRoot: rootSquash)
        if !allow.isEmpty { export.allowedClients = AddressRange.loopback + allow }
        var configuration = DatastoreConfiguration(exports: [export], stateDirectory: state)
        configuration.introspects = introspect == .on
        configuration.ignoresUnseenMarks = ignoreUnseenMarks
        configuration.mapsDirectory = maps
        configuration.cacheSize = cache.bytes
        if !ssd.isEmpty {
            var tier = DatastoreConfiguration.Tier(
                directories: ssd, mode: ssdMode ?? .off, classes: ssdClasses ?? .metadata,
                size: ssdSize?.bytes ?? 1 << 30, drainTimeout: .seconds(drainTimeout))
            tier.isMirrored = ssdMirror
            tier.modes = imageModes.map { ($0.pattern(in: directory), $0.mode) }
            configuration.tier = tier
        }
        return configuration
    }

    private func writeReport(of datastore: Datastore, namesFiles: Bool, _ logger: Logger) {
        guard let report else { return }
        do {
            try ReportFiles(directory: report, namesFiles: namesFiles).write(datastore)
        } catch {
            logger.warning("the report cannot be written to \(report): \(error)")
        }
    }
}

extension AddressRange: ExpressibleByArgument {
    /// A network on the command line: `192.0.2.0/24`, `2001:db8::/32`, or one address.
    public init?(argument: String) {
        self.init(argument)
    }
}

extension DatastoreConfiguration.TierMode: ExpressibleByArgument {}

extension RedirectClasses: ExpressibleByArgument {
    /// The classes of a list of names.
    public init?(argument: String) { self.init(names: argument) }
}

extension Logger.Level: @retroactive ExpressibleByArgument {}
