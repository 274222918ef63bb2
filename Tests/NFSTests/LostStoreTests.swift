import Datastore
import Foundation
import Glibc
import Logging
import RPCGenClient
import TestTools
import Testing

@testable import NFS

/// What stands in for an answer when there is none.
@Suite("A store that is cut off")
struct LostStoreTests {
    private static let canMount = getuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0

    @Test("has no status that a guest would take for an error of its disk", arguments: [ESHUTDOWN, ENOTCONN])
    func isNoStatus(number: Int32) {
        #expect(NFSStatus(DatastoreError(errorNumber: number, "read")) == .noAnswer)
    }

    @Test("ends the connections of those who ask for what it had", .enabled(if: canMount, "mounts a FUSE file system"))
    func endsConnections() async throws {
        var disk: FUSEDisk?
        try await ServerUnderTest.run(prepare: { disk = try FUSEDisk(at: $0) }) { server in
            defer { disk?.remove() }
            let session = try Session(server)
            let (root, file) = (session.root, try session.handle("disk"))
            #expect(try session.client.write(file, offset: 0, [1, 2, 3]).status == NFS3_OK)
            #expect(try session.client.read(file, offset: 0, count: 3).bytes == [1, 2, 3])
            disk?.cutOff()
            // What the kernel remembers of names and attributes it tells for a while.
            let calls: [(name: String, call: (NFSClient) throws(CallFailure) -> nfsstat3)] = [
                ("READ", { (client) throws(CallFailure) in try client.read(file, offset: 0, count: 3).status }),
                ("WRITE", { (client) throws(CallFailure) in try client.write(file, offset: 0, [4]).status }),
                ("COMMIT", { (client) throws(CallFailure) in try client.commit(file).status }),
                ("SETATTR", { (client) throws(CallFailure) in try client.setattr(file, .mode(0o600)).status }),
                ("SETATTR size", { (client) throws(CallFailure) in try client.setattr(file, .size(0)).status }),
                ("MKDIR", { (client) throws(CallFailure) in try client.mkdir(root, "new").status }),
                ("REMOVE", { (client) throws(CallFailure) in try client.remove(root, "disk").status }),
                ("RENAME", { (client) throws(CallFailure) in try client.rename(root, "disk", to: root, "new").status }),
                ("LOOKUP", { (client) throws(CallFailure) in try client.lookup(root, "new").status }),
                ("FSSTAT", { (client) throws(CallFailure) in try client.fsstat(root).status }),
            ]
            let other = try #require(NFSClient(port: server.nfsPort))
            for (name, call) in calls {
                let client = try #require(NFSClient(port: server.nfsPort))
                client.connection.authenticate(uid: getuid(), gid: getgid())
                do throws(CallFailure) {
                    let status = try call(client)
                    Issue.record("\(name) is answered: \(status)")
                } catch {
                    #expect(error == CallFailure(status: RPC_CANTRECV.rawValue), "\(name)")
                }
            }
            try other.connection.null()
        }
    }

    @Test(
        "does not make stale what is searched for in it", .enabled(if: canMount, "mounts a FUSE file system"))
    func makesNothingStale() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            let disk = try FUSEDisk(at: export)
            defer { disk.remove() }
            var configuration = DatastoreConfiguration(
                exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.handleScheme = .inodeTable
            let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            let first = try Datastore(configuration: configuration, logger: logger)
            let root = try first.mount(export, client: .loopback)
            let file = try first.lookup(root, FileName("disk"), as: .root).handle
            first.close()
            // After a restart it is searched for by its number.
            let second = try Datastore(configuration: configuration, logger: logger)
            defer { second.close() }
            disk.cutOff()
            for _ in 0..<3 {
                do throws(DatastoreError) {
                    _ = try second.getAttributes(file, as: .root)
                    Issue.record("the file was found")
                } catch {
                    #expect(error.code == .storeLost, "\(error)")
                }
            }
        }
    }

    @Test(
        "whose disk fails for a while is looked into when it is well again",
        .enabled(if: canMount, "mounts a FUSE file system"))
    func isLookedIntoLater() async throws {
        var disk: FUSEDisk?
        try await ServerUnderTest.run(prepare: { export in
            disk = try FUSEDisk(at: export, mebibytes: 8)
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/disk"])
        }) { server in
            defer { disk?.remove() }
            let session = try Session(server)
            let file = try session.handle("disk")
            try disk?.setFailing(true)
            #expect(try session.client.read(file, offset: 0, count: 3).status == NFS3ERR_IO)
            // It is looked into when it is quiet for two seconds.
            try await Task.sleep(for: .seconds(5))
            #expect(server.datastore.report().images.allSatisfy { $0.scan == nil })
            try disk?.setFailing(false)
            for _ in 0..<600 where server.datastore.report().images.allSatisfy({ $0.scan == nil }) {
                try await Task.sleep(for: .milliseconds(50))
            }
            #expect(server.datastore.report().images.contains { $0.scan != nil })
        }
    }
}
