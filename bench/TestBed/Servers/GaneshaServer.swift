import Glibc
import Synchronization

/// NFS-Ganesha, NFSv3 only, on the same export: the peer that figures are reported beside.
///
/// It insists on rpcbind, so the namespace needs ``NetworkNamespace/startPortMapper(logPath:on:)`` first.
public final class GaneshaServer: DatastoreServer {
    /// What to call it in a report.
    public let name = "NFS-Ganesha"
    /// The directory that it serves.
    public let directory: String
    /// The port of the NFS program.
    public let port = 2049
    /// The port of the MOUNT program.
    public let mountPort = 20048

    private let bed: Bed
    private let network: NetworkNamespace
    private let temporary: TemporaryDirectory
    private let process = Mutex<BackgroundProcess?>(nil)

    /// A server for `directory`, not started yet.
    public init(serving directory: String, network: NetworkNamespace, in temporary: TemporaryDirectory, bed: Bed) {
        self.directory = directory
        self.network = network
        self.temporary = temporary
        self.bed = bed
    }

    /// What it has written to its log.
    public var log: String { (try? readText(of: temporary.file("ganesha.log"))) ?? "" }

    /// Whether it was started and has not ended since.
    public var isRunning: Bool { process.withLock { $0?.isRunning ?? false } }

    /// The process identifier while it runs.
    public var processIdentifier: Int32? { process.withLock { $0?.identifier } }

    /// Starts it, and returns when it accepts connections.
    public func start() throws(TestBedError) {
        let configuration = try temporary.write(
            """
            NFS_CORE_PARAM {
                Protocols = 3; NFS_Port = \(port); MNT_Port = \(mountPort); Bind_addr = \(NetworkNamespace.serverAddress);
                Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
            }
            NFSv4 { Graceless = true; }
            EXPORT {
                Export_Id = 1; Path = \(directory); Pseudo = \(directory); Access_Type = RW; Squash = No_Root_Squash;
                Protocols = 3; Transports = TCP; SecType = sys; FSAL { Name = VFS; }
            }

            """, to: "ganesha.conf")
        let words = [
            "ganesha.nfsd", "-F", "-f", configuration, "-L", temporary.file("ganesha.log"),
            "-p", temporary.file("ganesha.pid"), "-N", "NIV_EVENT",
        ]
        let process = try BackgroundProcess(
            network.wrap(words), logPath: temporary.file("ganesha.out"), on: bed)
        self.process.withLock { $0 = process }
        try process.wait(upTo: 30, for: "listening") {
            isListening(port: port, process: process.identifier)
                && isListening(port: mountPort, process: process.identifier)
        }
    }

    /// Stops it with SIGTERM and waits for its end.
    public func stop() throws(TestBedError) {
        takeProcess()?.stop()
    }

    /// Ends it with SIGKILL.
    public func kill() throws(TestBedError) {
        takeProcess()?.kill()
    }

    private func takeProcess() -> BackgroundProcess? {
        process.withLock { process in
            defer { process = nil }
            return process
        }
    }
}
