/// An NFS server that exports a directory inside a ``NetworkNamespace``.
public protocol DatastoreServer: AnyObject, Sendable {
    /// What to call it in a report.
    var name: String { get }
    /// The directory that it serves.
    var directory: String { get }
    /// The port of the NFS program.
    var port: Int { get }
    /// The port of the MOUNT program.
    var mountPort: Int { get }
    /// Starts it, and returns when it accepts connections.
    func start() throws(TestBedError)
    /// Stops it with SIGTERM and waits for its end.
    func stop() throws(TestBedError)
    /// Ends it with SIGKILL.
    func kill() throws(TestBedError)
    /// What it has written to its log.
    var log: String { get }
    /// Whether it was started and has not ended since.
    var isRunning: Bool { get }
    /// The process identifier while it runs.
    var processIdentifier: Int32? { get }
}

extension DatastoreServer {
    /// Options for `mount -t nfs` in a guest.
    public var mountOptions: String {
        "vers=3,nolock,tcp,addr=\(NetworkNamespace.serverAddress),port=\(port),mountport=\(mountPort)"
    }

    /// What a guest mounts.
    public var mountSource: String { "\(NetworkNamespace.serverAddress):\(directory)" }

    /// The URL of a file in the exported directory, for programs that ask rpcbind for the ports.
    public func url(of file: String) -> String { "nfs://\(NetworkNamespace.serverAddress)\(directory)/\(file)" }
}
