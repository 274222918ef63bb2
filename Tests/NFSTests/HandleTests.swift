import Foundation
import RPCGenClient
import Testing

@Suite("File handles")
struct HandleTests {
    /// The status of every procedure that takes a handle, given `handle`.
    private func statuses(_ client: NFSClient, _ handle: Handle, root: Handle) throws -> [String: nfsstat3] {
        [
            "GETATTR": try client.getattr(handle).status,
            "SETATTR": try client.setattr(handle, .mode(0o600)).status,
            "LOOKUP": try client.lookup(handle, "x").status,
            "ACCESS": try client.access(handle, ACCESS3_READ).reply.status,
            "READLINK": try client.readlink(handle).reply.status,
            "READ": try client.read(handle, offset: 0, count: 10).status,
            "WRITE": try client.write(handle, offset: 0, [1]).status,
            "CREATE": try client.create(handle, "x", .guarded(.unchanged)).status,
            "MKDIR": try client.mkdir(handle, "x").status,
            "SYMLINK": try client.symlink(handle, "x", target: "y").status,
            "MKNOD": try client.mknod(handle, "x", NF3FIFO).status,
            "REMOVE": try client.remove(handle, "x").status,
            "RMDIR": try client.rmdir(handle, "x").status,
            "RENAME from": try client.rename(handle, "x", to: root, "y").status,
            "RENAME to": try client.rename(root, "present", to: handle, "y").status,
            "LINK": try client.link(handle, root, "y").status,
            "READDIR": try client.readdir(handle, count: 4096).status,
            "READDIRPLUS": try client.readdirplus(handle, dircount: 4096, maxcount: 4096).status,
            "FSSTAT": try client.fsstat(handle).status,
            "FSINFO": try client.fsinfo(handle).status,
            "PATHCONF": try client.pathconf(handle).status,
            "COMMIT": try client.commit(handle).status,
        ]
    }

    @Test("Bytes that the server never issued are BADHANDLE to every procedure")
    func refusesGarbage() async throws {
        try await Session.run { session in
            _ = try session.file("present")
            for bytes in [[], [0], [UInt8](repeating: 0, count: 64), pattern(64), pattern(63), pattern(16)] {
                for (procedure, status) in try statuses(session.client, Handle(bytes), root: session.root) {
                    #expect(status == NFS3ERR_BADHANDLE, "\(procedure), \(bytes.count) bytes")
                }
            }
        }
    }

    @Test("A handle with one bit changed is not accepted")
    func refusesForgery() async throws {
        try await Session.run { session in
            let handle = try session.file("file")
            for bit in 0..<handle.bytes.count * 8 {
                var forged = handle
                forged.bytes[bit / 8] ^= 1 << (bit % 8)
                #expect(try session.client.getattr(forged).status == NFS3ERR_BADHANDLE, "bit \(bit)")
            }
            for count in 0..<handle.bytes.count {
                let cut = Handle(Array(handle.bytes.prefix(count)))
                #expect(try session.client.getattr(cut).status == NFS3ERR_BADHANDLE, "\(count) bytes")
            }
        }
    }

    @Test("A handle of more than 64 bytes is garbage")
    func refusesLongHandles() async throws {
        try await Session.run { session in
            let words = [UInt32](repeating: 0, count: 17)
            #expect(throws: CallFailure.garbageArguments) { try session.client.connection.call(1, words: [65] + words) }
            #expect(throws: CallFailure.garbageArguments) {
                try session.client.connection.call(1, words: [0xffff_ffff] + words)
            }
        }
    }

    @Test("The handle of a removed file is STALE to every procedure")
    func knowsStaleHandles() async throws {
        try await Session.run { session in
            _ = try session.file("present")
            let file = try session.file("file", [1])
            #expect(try session.client.read(file, offset: 0, count: 1).status == NFS3_OK)
            #expect(try session.client.remove(session.root, "file").status == NFS3_OK)
            for (procedure, status) in try statuses(session.client, file, root: session.root) {
                #expect(status == NFS3ERR_STALE, "\(procedure)")
            }
        }
    }

    @Test("A new file in the place of a removed one does not answer to the old handle")
    func tellsGenerationsApart() async throws {
        try await Session.run { session in
            var stale: [Handle] = []
            for round in 0..<20 {
                let made = try session.client.create(session.root, "file", .guarded(.unchanged))
                let handle = try #require(made.handle)
                #expect(!stale.contains(handle), "round \(round)")
                for old in stale {
                    #expect(try session.client.getattr(old).status == NFS3ERR_STALE, "round \(round)")
                }
                stale.append(handle)
                #expect(try session.client.remove(session.root, "file").status == NFS3_OK)
            }
        }
    }

    @Test("A handle outlives renames, and the file keeps its fileid")
    func survivesRename() async throws {
        try await Session.run { session in
            #expect(mkdir(session.path("directory"), 0o755) == 0)
            let file = try session.file("file", [1, 2, 3])
            let before = try session.attributes(file)
            let directory = try session.handle("directory")
            #expect(try session.client.rename(session.root, "file", to: directory, "moved").status == NFS3_OK)
            #expect(try session.client.read(file, offset: 0, count: 10).bytes == [1, 2, 3])
            #expect(try session.attributes(file).fileid == before.fileid)
            #expect(try session.client.lookup(directory, "moved").handle == file)
        }
    }
}
