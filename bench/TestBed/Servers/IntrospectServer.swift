import FoundationEssentials
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
    /// Where it writes its report on SIGUSR1 and at its end: `statistics.json`, and `IMAGE.runs` for each image.
    public let reportDirectory: String

    private let bed: Bed
    private let network: NetworkNamespace
    private let logPath: String
    private let stateDirectory: String
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
        reportDirectory = temporary.file("introspectd-report")
        stateDirectory = temporary.file("introspectd-state")
    }

    /// What it has written to its log, over all its starts.
    public var log: String { (try? readText(of: logPath)) ?? "" }

    /// Whether it was started and has not ended since.
    public var isRunning: Bool { process.withLock { $0?.isRunning ?? false } }

    /// The process identifier while it runs.
    public var processIdentifier: Int32? { process.withLock { $0?.identifier } }

    /// Starts it, and returns when it accepts connections.
    public func start() throws(TestBedError) {
        var words = [
            try Executable.path(of: "introspectd"), "serve", directory,
            "--listen", NetworkNamespace.serverAddress, "--port", "\(port)", "--mount-port", "\(mountPort)",
            "--allow", NetworkNamespace.network, "--introspect", options.introspects ? "on" : "off",
            "--state", stateDirectory, "--report", reportDirectory,
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

    /// Has it write its report now, and returns the statistics.
    public func report() throws(TestBedError) -> ServerReport {
        let path = "\(reportDirectory)/statistics.json"
        unlink(path)
        guard let process = process.withLock({ $0 }) else { throw TestBedError("\(name) does not run") }
        process.signal(SIGUSR1)
        try process.wait(upTo: 30, for: "its report") { access(path, F_OK) == 0 }
        let text = try readText(of: path)
        do {
            return try JSONDecoder().decode(ServerReport.self, from: Data(text.utf8))
        } catch {
            throw TestBedError("\(path): \(error)\n\(text)")
        }
    }

    /// Waits until there are so many images, none is being scanned, and nothing that a client wrote is left to be
    /// digested.
    public func waitUntilIntrospectionRests(
        images: Int = 1, upTo seconds: Double
    ) throws(TestBedError) -> ServerReport {
        let deadline = monotonicNanoseconds() + Int(seconds * 1e9)
        while true {
            let report = try report()
            let isAtRest = report.images.allSatisfy { !$0.isBusy && $0.scan != nil }
            // A report that tells so may hold maps from before the last digest.
            if report.images.count >= images, isAtRest { return try self.report() }
            guard monotonicNanoseconds() < deadline else {
                throw TestBedError("introspection does not rest after \(seconds) s: \(report.images)\n\(log)")
            }
            usleep(50000)
        }
    }

    private func takeProcess() -> BackgroundProcess? {
        process.withLock { process in
            defer { process = nil }
            return process
        }
    }
}
