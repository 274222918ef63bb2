import Glibc
import TestBed

/// A server that ends in every way, on ports of the loopback interface.
final class CrashServer {
    /// Where it listens.
    struct Ports: Sendable {
        var nfs: UInt16
        var mount: UInt16
    }

    private let temporary: TemporaryDirectory
    private let bed: Bed
    private var process: BackgroundProcess?
    private var starts = 0

    init(in temporary: TemporaryDirectory, on bed: Bed) {
        self.temporary = temporary
        self.bed = bed
    }

    /// What it has said since it was started last.
    var log: String { process?.log ?? "" }

    var isRunning: Bool { process?.isRunning ?? false }

    /// Starts it with its state in `state`, and returns when it listens.
    func start(serving export: String, state: String, _ options: [String]) throws(TestBedError) -> Ports {
        starts += 1
        let words = [
            try Executable.path(of: "introspectd"), "serve", export, "--port", "0", "--mount-port", "0",
            "--no-rpcbind", "--insecure", "--state", state, "--control", control, "--cache", "32M",
        ]
        let process = try BackgroundProcess(
            words + options, logPath: temporary.file("introspectd-\(starts).log"), on: bed)
        self.process = process
        var ports: Ports?
        try process.wait(upTo: 60, for: "listening") {
            ports = Self.ports(process.log)
            return ports != nil
        }
        guard let ports else { throw TestBedError("no ports in \(process.log)") }
        return ports
    }

    private static func ports(_ log: String) -> Ports? {
        guard let match = log.firstMatch(of: /NFS at port (\d+), MOUNT at port (\d+)[;\n]/), let nfs = UInt16(match.1),
            let mount = UInt16(match.2)
        else { return nil }
        return Ports(nfs: nfs, mount: mount)
    }

    private var control: String { temporary.file("control") }

    /// Has an administrator do something; whether that was done.
    func administer(_ words: String...) throws(TestBedError) -> Bool {
        let command = [try Executable.path(of: "introspectctl")] + words + ["--control", control]
        return try Command(command, timeLimit: 60).result().status == 0
    }

    /// Ends it with SIGKILL.
    func kill() { process?.kill() }

    /// Has it do nothing more; what it has asked the kernel for goes on.
    func freeze() { process?.signal(SIGSTOP) }

    /// Ends it with SIGTERM; the exit status, nil when it had to be killed.
    func stop() -> Int32? {
        process?.signal(SIGTERM)
        guard let status = process?.waitForEnd(upTo: 90) else {
            kill()
            return nil
        }
        return status
    }
}
