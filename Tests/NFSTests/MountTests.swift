import Datastore
import Foundation
import Logging
import RPCGenClient
import Synchronization
import Testing

@Suite("MOUNT v3")
struct MountTests {
    private func prepare(_ path: String) throws {
        try FileManager.default.createDirectory(atPath: path + "/pool/disks", withIntermediateDirectories: true)
        try Data("x".utf8).write(to: URL(fileURLWithPath: path + "/file"))
    }

    @Test("MNT gives the handle of an export and of directories in it")
    func mounts() async throws {
        try await ServerUnderTest.run(prepare: prepare) { server in
            let mount = try #require(MountClient(port: server.mountPort))
            let nfs = try #require(NFSClient(port: server.nfsPort))
            for path in ["", "/", "/pool", "/pool/disks", "/pool/disks/"] {
                let reply = try mount.mount(server.path + path)
                try #require(reply.status == MNT3_OK, "\(path)")
                #expect(reply.flavors == [1, 0])
                let attributes = try #require(try nfs.getattr(reply.handle).attributes)
                expectEqual(attributes, try status(of: server.path + path))
            }
        }
    }

    @Test("MNT takes the bytes of a directory's name, whatever they are")
    func mountsNamesInNoEncoding() async throws {
        let name: [UInt8] = [UInt8(ascii: "/"), 0xE9, 0xFF]
        // What the name would be if it were made text.
        let other = Array("/\u{FFFD}\u{FFFD}".utf8)
        func place(_ path: String, _ name: [UInt8]) -> [CChar] {
            (Array(path.utf8) + name).map { CChar(bitPattern: $0) } + [0]
        }
        try await ServerUnderTest.run(
            prepare: { path in
                for name in [name, other] { #expect(mkdir(place(path, name), 0o755) == 0) }
            }
        ) { server in
            let mount = try #require(MountClient(port: server.mountPort))
            let nfs = try #require(NFSClient(port: server.nfsPort))
            for name in [name, other] {
                var status = stat()
                try #require(lstat(place(server.path, name), &status) == 0)
                let reply = try mount.mount(Array(server.path.utf8) + name)
                try #require(reply.status == MNT3_OK)
                #expect(try nfs.getattr(reply.handle).attributes?.fileid == status.st_ino)
            }
            #expect(try mount.mount(Array(server.path.utf8) + [UInt8(ascii: "/"), 0xE9]).status == MNT3ERR_NOENT)
        }
    }

    @Test("MNT says what is wrong with a path")
    func refusesPaths() async throws {
        try await ServerUnderTest.run(prepare: prepare) { server in
            let mount = try #require(MountClient(port: server.mountPort))
            #expect(try mount.mount(server.path + "/none").status == MNT3ERR_NOENT)
            #expect(try mount.mount(server.path + "/file").status == MNT3ERR_NOTDIR)
            #expect(
                try mount.mount(server.path + "/" + String(repeating: "n", count: 300)).status == MNT3ERR_NAMETOOLONG)
            for path in [server.directory.path, server.path + "/..", server.path + "/pool/../..", "/", "relative", ""] {
                let status = try mount.mount(path).status
                #expect([MNT3ERR_NOENT, MNT3ERR_ACCES].contains(status), "\(path)")
            }
        }
    }

    @Test("MNT refuses a path longer than the protocol's limit")
    func refusesLongPaths() async throws {
        try await ServerUnderTest.run { server in
            let mount = try #require(MountClient(port: server.mountPort))
            let bytes = [UInt8](repeating: UInt8(ascii: "a"), count: 2048)
            // The client's own codec would not send it. The call succeeds; its result is MNT3ERR_NAMETOOLONG.
            try mount.connection.call(1, bytes: [0, 0, 8, 0] + bytes)
            #expect(throws: CallFailure.garbageArguments) { try mount.connection.call(1, bytes: [0, 0, 8, 4] + bytes) }
        }
    }

    @Test("What MNT asks for does not fill the log")
    func logsNoLongPaths() async throws {
        let log = LogLength()
        try await ServerUnderTest.run(logger: Logger(label: "test") { _ in log }) { server in
            let mount = try #require(MountClient(port: server.mountPort))
            let count = 512 << 10
            let length = withUnsafeBytes(of: UInt32(count).bigEndian) { Array($0) }
            for _ in 0..<4 {
                try mount.connection.call(1, bytes: length + [UInt8](repeating: UInt8(ascii: "a"), count: count))
            }
            let bytes = log.bytes.load(ordering: .relaxed)
            #expect((1...4096).contains(bytes))
        }
    }

    @Test("MNT refuses clients that the export does not allow")
    func refusesClients() async throws {
        try await ServerUnderTest.run(configure: { export in
            export.allowedClients = [AddressRange("10.0.0.0/8")].compactMap(\.self)
        }) { server in
            let mount = try #require(MountClient(port: server.mountPort))
            #expect(try mount.mount(server.path).status == MNT3ERR_ACCES)
        }
    }

    @Test("DUMP lists what UMNT and UMNTALL take away")
    func remembersMounts() async throws {
        try await ServerUnderTest.run(prepare: prepare) { server in
            let mount = try #require(MountClient(port: server.mountPort))
            #expect(try mount.dump().isEmpty)
            let paths = [server.path, server.path + "/pool", server.path + "/pool/disks"]
            for path in paths + [server.path] {
                try #require(try mount.mount(path).status == MNT3_OK)
            }
            let entries = try mount.dump()
            #expect(Set(entries.map(\.directory)) == Set(paths))
            #expect(entries.count == paths.count)
            #expect(entries.allSatisfy { $0.host == "127.0.0.1" })
            try mount.unmount(paths[1])
            #expect(Set(try mount.dump().map(\.directory)) == [paths[0], paths[2]])
            try mount.unmountAll()
            #expect(try mount.dump().isEmpty)
        }
    }

    @Test("EXPORT names the export and its clients, a word each")
    func listsExports() async throws {
        try await ServerUnderTest.run { server in
            let mount = try #require(MountClient(port: server.mountPort))
            let exports = try mount.exports()
            #expect(exports.map(\.directory) == [server.path])
            #expect(exports.first?.groups == ["127.0.0.0/8", "::1"])
        }
    }

    @Test("Other versions and procedures are refused as RPC wants it")
    func refusesCalls() async throws {
        try await ServerUnderTest.run { server in
            let mount = try #require(MountClient(port: server.mountPort))
            try mount.connection.null()
            #expect(throws: CallFailure.procedureUnavailable) { try mount.connection.call(6, words: []) }
            #expect(throws: CallFailure.garbageArguments) { try mount.connection.call(1, words: []) }
            #expect(throws: CallFailure.garbageArguments) { try mount.connection.call(3, words: [100]) }
            let old = try #require(MountClient(port: server.mountPort, version: 1))
            #expect(throws: CallFailure.versionMismatch(low: 3, high: 3)) { try old.connection.null() }
        }
    }
}

/// Counts the bytes of a log's messages.
private final class LogLength: LogHandler, Sendable {
    let bytes = Atomic(0)
    var logLevel: Logger.Level {
        get { .info }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        bytes.add("\(event.message)".utf8.count, ordering: .relaxed)
    }
}
