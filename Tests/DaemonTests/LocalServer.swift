import Glibc
import TestBed

/// `introspectd` on ports of its own on the loopback interface, with what the tests ask it.
struct LocalServer {
    let directory: String
    let port: UInt16
    let mountPort: UInt16
    let process: BackgroundProcess
    let reportDirectory: String

    /// Serves `directory` and waits until it listens.
    init(serving directory: String, _ options: [String] = [], in temporary: TemporaryDirectory, on bed: Bed) throws {
        self.directory = directory
        port = try unusedPort()
        mountPort = try unusedPort()
        reportDirectory = temporary.file("report")
        process = try BackgroundProcess(
            [
                try Executable.path(of: "introspectd"), "serve", directory, "--port", "\(port)",
                "--mount-port", "\(mountPort)", "--no-rpcbind", "--state", temporary.file("state"),
                "--report", reportDirectory, "--log-level", "debug",
            ] + options, logPath: temporary.file("introspectd.log"), on: bed)
        let process = process
        try process.wait(upTo: 30, for: "listening") { process.log.contains("serving ") }
    }

    /// What `nfs-ls` of libnfs says of the export: fails unless the server answers as it should.
    func list() throws -> String {
        try run("nfs-ls", "nfs://127.0.0.1\(directory)?nfsport=\(port)&mountport=\(mountPort)", timeLimit: 20)
    }

    /// Has the report written, and waits until it is; `directory` is where it is told to.
    func writeReport(in directory: String? = nil, upTo seconds: Double = 20) throws {
        let last = "\(directory ?? reportDirectory)/statistics.json"
        unlink(last)
        process.signal(SIGUSR1)
        try process.wait(upTo: seconds, for: "the report") { access(last, F_OK) == 0 }
    }

    /// Waits until the log has `text`.
    func waitForLog(_ text: String, upTo seconds: Double = 20) throws {
        try process.wait(upTo: seconds, for: "a log line with: \(text)") { process.log.contains(text) }
    }
}

/// A TCP port of the loopback interface that nobody listens on.
func unusedPort() throws -> UInt16 {
    let listener = try Socket()
    return try listener.listenAnywhere()
}

/// A TCP socket on the loopback interface, closed at the end.
final class Socket {
    private let descriptor: Int32

    init() throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestBedError("no socket: \(String(cString: strerror(errno)))") }
    }

    deinit {
        close(descriptor)
    }

    /// Listens on a port that the kernel chooses, and returns it.
    func listenAnywhere() throws -> UInt16 {
        let status = withAddress(port: 0) { bind(descriptor, $0, $1) }
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let named = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard status == 0, listen(descriptor, 1) == 0, named == 0 else { throw TestBedError("cannot listen") }
        return UInt16(bigEndian: address.sin_port)
    }

    /// Connects from a port that only root can have, as the server wants it.
    func connect(to port: UInt16, fromPrivilegedPort: Bool = true) throws {
        if fromPrivilegedPort, bindresvport(descriptor, nil) != 0 { throw TestBedError("no privileged port is free") }
        guard withAddress(port: port, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            throw TestBedError("cannot connect to port \(port)")
        }
    }

    func send(_ bytes: [UInt8]) {
        // MSG_NOSIGNAL: which type it is imported with depends on what else is imported.
        let noSignal: Int32 = 0x4000
        _ = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, noSignal) }
    }

    /// Ends the connection, also where a program that was started meanwhile has got the descriptor.
    func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    /// Whether the other end closes the connection within `seconds`.
    func isClosedByPeer(within seconds: Int) -> Bool {
        var timeout = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count == 0 { return true }
            if count < 0 { return errno == ECONNRESET }
        }
    }

    private func withAddress(port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
