import Glibc
import TestBed
import Testing

@testable import introspect_bench

/// Who may connect, what that costs when there are many, and what rpcbind is told.
struct NetworkTests {
    /// Any local user can have such a port, and say that he is root.
    @Test func portsThatAnyUserCanHaveAreTurnedAwayUnlessToldOtherwise() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let server = try LocalServer(serving: export, in: temporary, on: bed)
            for port in [server.port, server.mountPort] {
                let stranger = try Socket()
                try stranger.connect(to: port, fromPrivilegedPort: false)
                #expect(stranger.isClosedByPeer(within: 10))
                let client = try Socket()
                try client.connect(to: port)
                #expect(!client.isClosedByPeer(within: 1))
            }
            try server.waitForLog("its port is not below 1024")
            _ = try server.list()
            #expect(server.process.stop() == 0)
            let open = try LocalServer(serving: export, ["--insecure"], in: temporary, on: bed)
            // The log is that of the first server, too.
            try open.process.wait(upTo: 30, for: "listening") {
                open.process.log.split(separator: "\n").count { $0.contains("serving ") } == 2
            }
            for port in [open.port, open.mountPort] {
                let client = try Socket()
                try client.connect(to: port, fromPrivilegedPort: false)
                #expect(!client.isClosedByPeer(within: 1))
            }
            #expect(open.process.stop() == 0)
        }
    }

    @Test func connectionsThatAreRefusedDoNotFillTheLog() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let server = try LocalServer(serving: try temporary.makeDirectory("export"), in: temporary, on: bed)
            for _ in 0..<1000 {
                let stranger = try Socket()
                try stranger.connect(to: server.port, fromPrivilegedPort: false)
                #expect(stranger.isClosedByPeer(within: 10))
            }
            sleep(2)
            let last = try Socket()
            try last.connect(to: server.port, fromPrivilegedPort: false)
            try server.waitForLog("more like it were left out)")
            let lines = server.process.log.split(separator: "\n").count { $0.contains("connection refused") }
            #expect(lines < 300, "\(lines) lines")
            #expect(server.process.stop() == 0)
        }
    }

    /// A client that goes on writing where there is no room fills no log with that.
    @Test func writesThatFailDoNotFillTheLog() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            try run("mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", export)
            bed.register("unmount \(export)") { () throws(TestBedError) in try run("umount", "--lazy", export) }
            try run("touch", "\(export)/file")
            _ = try? run("dd", "if=/dev/zero", "of=\(export)/rest", "bs=4k", "status=none")
            let server = try LocalServer(serving: export, in: temporary, on: bed)
            let (nfs, file) = try server.open("file")
            let record =
                NFSCalls.write(file, offset: 0, count: 4096, isStable: true) + [UInt8](repeating: 7, count: 4096)
            func fail() {
                #expect(throws: NFSClientError.self) { try nfs.call(record, "WRITE") }
            }
            for _ in 0..<1000 { fail() }
            sleep(2)
            fail()
            try server.waitForLog("more like it were left out)")
            let lines = server.process.log.split(separator: "\n").filter { $0.contains("No space left") }
            #expect((100..<300).contains(lines.count), "\(lines.count) lines")
            #expect(lines.contains { $0.contains("more like it were left out)") })
            #expect(server.process.stop() == 0)
        }
    }

    /// Without `tcp` a client asks rpcbind for the ports, and hangs for minutes where there is none.
    @Test(arguments: [true, false]) func whatClientsNeedWithoutRPCBindIsSaid(isAsked: Bool) throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            // Nobody answers there.
            let network = try NetworkNamespace(on: bed)
            let server = try BackgroundProcess(
                network.wrap(
                    [
                        try Executable.path(of: "introspectd"), "serve", try temporary.makeDirectory("export"),
                        "--port", "3049", "--mount-port", "3050", "--state", temporary.file("state"),
                    ] + (isAsked ? [] : ["--no-rpcbind"])), logPath: temporary.file("log"), on: bed)
            let options = "-o vers=3,nolock,tcp,port=3049,mountport=3050"
            let said = isAsked ? "clients have to mount with \(options)" : "clients mount it with \(options) "
            try server.wait(upTo: 60, for: said) { server.log.contains(said) }
            #expect(server.stop() == 0)
            #expect(server.log.contains("clients have to mount") == isAsked)
        }
    }

    /// A connection that cannot be accepted waits, and costs nothing meanwhile.
    @Test func whatCannotBeAcceptedWaitsWithoutWork() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let server = try LocalServer(serving: try temporary.makeDirectory("export"), in: temporary, on: bed)
            _ = try server.list()
            let process = "\(server.process.identifier)"
            // It has some twenty open for itself.
            try run("prlimit", "--pid", process, "--nofile=40:4096")
            let clients = try (0..<64).map { _ in try Socket() }
            for client in clients { try client.connect(to: server.port) }
            try server.waitForLog("no connection is accepted for")
            let before = try processorTicks(process)
            sleep(3)
            let ticks = try processorTicks(process) - before
            #expect(ticks < 15, "\(ticks) hundredths of a second in three")
            try run("prlimit", "--pid", process, "--nofile=4096:4096")
            // Who waited is served now.
            _ = try server.list()
            #expect(server.process.stop() == 0)
        }
    }

    /// What a flood has left of memory is the system's again when it is over, not malloc()'s for ever.
    @Test func memoryGoesBackWhenALoadIsOver() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let server = try LocalServer(
                serving: try temporary.makeDirectory("export"), ["--insecure"], in: temporary, on: bed)
            _ = try server.list()
            let before = try residentBytes(server.process)
            try withLoad(on: server.port) {
                try server.process.wait(upTo: 60, for: "a load") {
                    ((try? residentBytes(server.process)) ?? 0) > before + 64 << 20
                }
            }
            // It is looked at every five seconds. What lies between buffers that are in use stays.
            try server.process.wait(upTo: 30, for: "the memory") {
                ((try? residentBytes(server.process)) ?? .max) < before + 32 << 20
            }
            _ = try server.list()
            #expect(server.process.stop() == 0)
        }
    }

    /// Runs `body` while 96 clients have sent all but the end of a WRITE of 1 MiB.
    private func withLoad(on port: UInt16, _ body: () throws -> Void) throws {
        let length: UInt32 = 1 << 20
        // A call of NFS version 3, procedure 7, without credentials; what follows is never looked at.
        let words: [UInt32] = [length | 1 << 31, 1, 0, 2, 100_003, 3, 7, 0, 0, 0, 0]
        let head = words.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
        let record = head + [UInt8](repeating: 7, count: Int(length) - head.count)
        let clients = try (0..<96).map { _ in try Socket() }
        for client in clients {
            try client.connect(to: port, fromPrivilegedPort: false)
            client.send(record)
        }
        defer { for client in clients { client.end() } }
        try body()
    }

    private func residentBytes(_ process: BackgroundProcess) throws -> Int {
        let pages = try readText(of: "/proc/\(process.identifier)/statm").split(separator: " ")[1]
        return (Int(pages) ?? 0) * 4096
    }

    private func processorTicks(_ process: String) throws -> Int {
        let text = try readText(of: "/proc/\(process)/stat")
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        return (Int(fields[12]) ?? 0) + (Int(fields[13]) ?? 0)
    }

    @Test func hangUpIsLoggedAndChangesNothing() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let server = try LocalServer(serving: try temporary.makeDirectory("export"), in: temporary, on: bed)
            server.process.signal(SIGHUP)
            try server.waitForLog("SIGHUP: there is nothing to load again")
            _ = try server.list()
            #expect(server.process.stop() == 0)
        }
    }

    /// A start takes over what a dead server has left, never what a live one has; a stop deletes its own.
    @Test func registrationOfALiveServerStays() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let network = try NetworkNamespace(on: bed)
            try network.startPortMapper(logPath: temporary.file("rpcbind.log"), on: bed)
            func start(_ name: String, port: Int) throws -> BackgroundProcess {
                let server = try BackgroundProcess(
                    network.wrap([
                        try Executable.path(of: "introspectd"), "serve",
                        // Each has a directory of its own: one is refused that another serves.
                        try temporary.makeDirectory("export-\(name)"), "--port", "\(port)", "--mount-port",
                        "\(port + 1)", "--state", temporary.file("state-\(name)"),
                    ]), logPath: temporary.file("\(name).log"), on: bed)
                try server.wait(upTo: 30, for: "listening") { server.log.contains("serving ") }
                return server
            }
            func registeredPort() throws -> String? {
                let lines = try network.command(["rpcinfo", "-p", "127.0.0.1"]).run().split(separator: "\n")
                for line in lines {
                    let words = line.split(separator: " ").map { String($0) }
                    if words.count > 3, words[0] == "100003", words[2] == "tcp" { return words[3] }
                }
                return nil
            }
            func expectRegistered(_ port: String?, _ what: String) throws {
                let deadline = monotonicNanoseconds() + 10_000_000_000
                while try registeredPort() != port, monotonicNanoseconds() < deadline { usleep(50000) }
                #expect(try registeredPort() == port, "\(what)")
            }
            let first = try start("first", port: 2049)
            try expectRegistered("2049", "the first alone")
            let second = try start("second", port: 3049)
            try second.wait(upTo: 20, for: "a warning") {
                second.log.contains("another server is registered")
                    && second.log.contains("tcp,port=3049,mountport=3050")
            }
            #expect(second.stop() == 0)
            try expectRegistered("2049", "after the second's end")
            first.kill()
            let third = try start("third", port: 4049)
            try expectRegistered("4049", "in place of the dead one")
            // Somebody has rpcbind forget the third, and the next start finds nothing that it would take the place of.
            for (program, versions) in [("100003", 3...3), ("100005", 1...3)] {
                for version in versions {
                    _ = try? network.command(["rpcinfo", "-d", program, "\(version)"]).run()
                }
            }
            try expectRegistered(nil, "deleted")
            let fourth = try start("fourth", port: 5049)
            try expectRegistered("5049", "where nobody is registered")
            #expect(third.stop() == 0)
            #expect(try registeredPort() == "5049", "after the end of the third, whose it is not")
            #expect(fourth.stop() == 0)
            try expectRegistered(nil, "after the end of all")
        }
    }
}
