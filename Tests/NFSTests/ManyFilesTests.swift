import Foundation
import Glibc
import RPCGenClient
import TestBed
import Testing

/// A server that may have fewer descriptors than its clients use files.
@Suite("More files than descriptors")
struct ManyFilesTests {
    private static let files = 1000

    @Test("All are read and written, again and again")
    func servesThemAll() throws {
        let directory = try TemporaryDirectory()
        let export = "\(directory.path)/export"
        mkdir(export, 0o755)
        for number in 0..<Self.files {
            try Data("\(number)".utf8).write(to: URL(fileURLWithPath: "\(export)/f\(number)"))
        }
        let server = try ServerProcess(serving: export, descriptors: 700, in: directory.path)
        let mount = try #require(MountClient(port: server.mountPort))
        let mounted = try mount.mount(export)
        try #require(mounted.status == MNT3_OK)
        let client = try #require(NFSClient(port: server.nfsPort))
        client.connection.authenticate(uid: getuid(), gid: getgid())
        var handles: [Handle] = []
        for number in 0..<Self.files {
            let reply = try client.lookup(mounted.handle, "f\(number)")
            try #require(reply.status == NFS3_OK)
            handles.append(try #require(reply.handle))
        }
        for round in 0..<2 as Range<UInt8> {
            var errors: [String] = []
            for (number, file) in handles.enumerated() {
                let read = try client.read(file, offset: 0, count: 100)
                let expected = round == 0 ? Array("\(number)".utf8) : [UInt8](repeating: round, count: 8)
                if read.status != NFS3_OK || read.bytes != expected { errors.append("READ \(number): \(read.status)") }
                let written = try client.write(file, offset: 0, [UInt8](repeating: round + 1, count: 8))
                if written.status != NFS3_OK { errors.append("WRITE \(number): \(written.status)") }
                let root = try client.getattr(mounted.handle)
                if root.status != NFS3_OK { errors.append("GETATTR \(number): \(root.status)") }
            }
            #expect(errors.isEmpty, "\(errors.count): \(errors.prefix(5))")
        }
        #expect(server.stop() == 0)
    }
}

/// `introspectd` in a process of its own.
final class ServerProcess {
    let nfsPort: Int
    let mountPort: Int
    private let process = Process()

    /// Serves `export`, and may have so many descriptors; what it needs beside lies in `directory`.
    init(serving export: String, descriptors: Int, in directory: String) throws {
        let log = "\(directory)/log"
        try Data().write(to: URL(fileURLWithPath: log))
        process.executableURL = URL(fileURLWithPath: "/usr/bin/prlimit")
        process.arguments = [
            "--nofile=\(descriptors):\(descriptors)", try Executable.path(of: "introspectd"), "serve", export,
            "--port", "0", "--mount-port", "0", "--no-rpcbind", "--insecure", "--state", "\(directory)/state",
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle(forWritingAtPath: log)
        try process.run()
        var ports: (nfs: Int, mount: Int)?
        for _ in 0..<600 where ports == nil {
            usleep(50_000)
            let text = try String(contentsOfFile: log, encoding: .utf8)
            guard let match = text.firstMatch(of: /NFS at port (\d+), MOUNT at port (\d+)/) else { continue }
            ports = Int(match.1).flatMap { nfs in Int(match.2).map { (nfs, $0) } }
        }
        guard let ports else {
            kill(process.processIdentifier, SIGKILL)
            throw POSIXError(.ETIMEDOUT)
        }
        (nfsPort, mountPort) = ports
    }

    /// Ends it; returns its exit status.
    func stop() -> Int32 {
        process.terminate()
        process.waitUntilExit()
        return process.terminationStatus
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }
}
