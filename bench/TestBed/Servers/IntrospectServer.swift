import Glibc
import Synchronization

/// `introspectd serve` as it was built beside the running program.
public final class IntrospectServer: DatastoreServer {
    /// How to start it.
    public struct Options: Sendable {
        /// Whether it looks into the images.
        public var introspects = true
        /// `--cache`; nil for the default.
        public var cache: String?
        /// Whether it registers with the port mapper of the namespace.
        public var registers = false
        /// Further words of the command line.
        public var extra: [String] = []

        /// Introspection on, everything else by default.
        public init() {}
    }

    /// `introspectd`, and whether it introspects.
    public let name: String
    /// The directory that it serves.
    public let directory: String
    /// The port of the NFS program.
    public let port = 2049
    /// The port of the MOUNT program.
    public let mountPort = 20048
    /// Where it writes its statistics on SIGUSR1 and at its end.
    public let statisticsPath: String

    private let bed: Bed
    private let network: NetworkNamespace
    private let logPath: String
    private let options: Options
    private let process = Mutex<BackgroundProcess?>(nil)

    /// A server for `directory`, not started yet.
    public init(
        serving directory: String, options: Options, network: NetworkNamespace, in temporary: TemporaryDirectory,
        bed: Bed
    ) {
        self.directory = directory
        self.options = options
        self.network = network
        self.bed = bed
        name = "introspectd, introspection \(options.introspects ? "on" : "off")"
        logPath = temporary.file("introspectd.log")
        statisticsPath = temporary.file("introspectd-statistics.json")
    }

    /// What it has written to its log, over all its starts.
    public var log: String { (try? readText(of: logPath)) ?? "" }

    /// The process identifier while it runs.
    public var processIdentifier: Int32? { process.withLock { $0?.identifier } }

    /// Starts it, and returns when it accepts connections.
    public func start() throws(TestBedError) {
        unlink(statisticsPath)
        var words = [
            try Executable.path(of: "introspectd"), "serve", directory,
            "--listen", NetworkNamespace.serverAddress, "--port", "\(port)", "--mount-port", "\(mountPort)",
            "--allow", NetworkNamespace.network, "--introspect", options.introspects ? "on" : "off",
            "--stats-file", statisticsPath,
        ]
        if let cache = options.cache { words += ["--cache", cache] }
        if !options.registers { words.append("--no-rpcbind") }
        let process = try BackgroundProcess(network.wrap(words + options.extra), logPath: logPath, on: bed)
        self.process.withLock { $0 = process }
        try process.wait(upTo: 30, for: "listening") {
            isListening(port: port, process: process.identifier)
                && isListening(port: mountPort, process: process.identifier)
        }
    }

    /// Stops it with SIGTERM and waits for its end; throws unless it ends with status 0.
    public func stop() throws(TestBedError) {
        guard let process = takeProcess() else { return }
        let status = process.stop()
        guard status == 0 else { throw TestBedError("\(name) ended with status \(status)\n\(process.log)") }
    }

    /// Ends it with SIGKILL.
    public func kill() throws(TestBedError) {
        takeProcess()?.kill()
    }

    /// Has it write its statistics now, and returns them.
    public func statistics() throws(TestBedError) -> String {
        unlink(statisticsPath)
        guard let process = process.withLock({ $0 }) else { throw TestBedError("\(name) does not run") }
        process.signal(SIGUSR1)
        try process.wait(upTo: 10, for: "statistics") {
            (try? readText(of: statisticsPath))?.isEmpty == false
        }
        return try readText(of: statisticsPath)
    }

    private func takeProcess() -> BackgroundProcess? {
        process.withLock { process in
            defer { process = nil }
            return process
        }
    }
}
