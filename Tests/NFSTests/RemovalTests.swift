import Foundation
import RPCGenClient
import Testing

@Suite("REMOVE, RMDIR, RENAME, LINK")
struct RemovalTests {
    @Test("REMOVE takes a name away, and only names that are there and not directories")
    func removes() async throws {
        try await Session.run { session in
            _ = try session.file("file")
            #expect(mkdir(session.path("directory"), 0o755) == 0)
            let before = try session.attributes(session.root)
            let reply = try session.client.remove(session.root, "file")
            #expect(reply.status == NFS3_OK)
            try expectTrue(reply.wcc, before: before, object: session.root, session)
            #expect(access(session.path("file"), F_OK) != 0)

            let missing = try session.client.remove(session.root, "file")
            #expect(missing.status == NFS3ERR_NOENT)
            #expect(missing.wcc?.after.value?.fileid == before.fileid)
            #expect(try session.client.remove(session.root, "directory").status == NFS3ERR_ISDIR)
        }
    }

    @Test("RMDIR removes empty directories and nothing else")
    func removesDirectories() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            #expect(mkdir(session.path("full"), 0o755) == 0)
            #expect(mkdir(session.path("full/inner"), 0o755) == 0)
            #expect(try session.client.rmdir(session.root, "full").status == NFS3ERR_NOTEMPTY)
            #expect(try session.client.rmdir(session.root, "file").status == NFS3ERR_NOTDIR)
            #expect(try session.client.rmdir(session.root, "none").status == NFS3ERR_NOENT)
            #expect(try session.client.rmdir(file, "x").status == NFS3ERR_NOTDIR)
            let full = try session.handle("full")
            let before = try session.attributes(full)
            let reply = try session.client.rmdir(full, "inner")
            #expect(reply.status == NFS3_OK)
            try expectTrue(reply.wcc, before: before, object: full, session)
            #expect(try session.client.rmdir(session.root, "full").status == NFS3_OK)
            #expect(try session.client.getattr(full).status == NFS3ERR_STALE)
        }
    }

    @Test("RENAME moves between directories and replaces what is there")
    func renames() async throws {
        try await Session.run { session in
            let file = try session.file("file", [1])
            #expect(mkdir(session.path("a"), 0o755) == 0)
            let directory = try session.handle("a")
            try Data([2]).write(to: URL(fileURLWithPath: session.path("a/target")))
            let replaced = try #require(try session.client.lookup(directory, "target").handle)
            let fromBefore = try session.attributes(session.root)
            let toBefore = try session.attributes(directory)
            let reply = try session.client.rename(session.root, "file", to: directory, "target")
            #expect(reply.status == NFS3_OK)
            try expectTrue(reply.wcc, before: fromBefore, object: session.root, session)
            try expectTrue(reply.otherWCC, before: toBefore, object: directory, session)
            #expect(try session.client.lookup(directory, "target").handle == file)
            #expect(try session.client.getattr(replaced).status == NFS3ERR_STALE)
            #expect(access(session.path("file"), F_OK) != 0)
        }
    }

    @Test("RENAME within one directory tells of it twice")
    func renamesInPlace() async throws {
        try await Session.run { session in
            _ = try session.file("old", [1])
            let before = try session.attributes(session.root)
            let reply = try session.client.rename(session.root, "old", to: session.root, "new")
            #expect(reply.status == NFS3_OK)
            try expectTrue(reply.wcc, before: before, object: session.root, session)
            #expect(reply.otherWCC?.after.value?.mtime == reply.wcc?.after.value?.mtime)
            #expect(try session.stat("new").st_size == 1)
        }
    }

    @Test("RENAME refuses what cannot be")
    func refusesRename() async throws {
        try await Session.run { session in
            _ = try session.file("file")
            #expect(mkdir(session.path("full"), 0o755) == 0)
            #expect(mkdir(session.path("full/inner"), 0o755) == 0)
            #expect(mkdir(session.path("empty"), 0o755) == 0)
            let inner = try #require(try session.client.lookup(try session.handle("full"), "inner").handle)
            let root = session.root
            let missing = try session.client.rename(root, "none", to: root, "x")
            #expect(missing.status == NFS3ERR_NOENT)
            #expect(missing.wcc?.after.value != nil)
            #expect(missing.otherWCC?.after.value != nil)
            let statuses = [
                try session.client.rename(root, "empty", to: root, "full").status,
                try session.client.rename(root, "full", to: inner, "loop").status,
                try session.client.rename(root, "file", to: root, "empty").status,
                try session.client.rename(root, "empty", to: root, "file").status,
            ]
            #expect([NFS3ERR_NOTEMPTY, NFS3ERR_EXIST].contains(statuses[0]))
            #expect(statuses[1] == NFS3ERR_INVAL)
            #expect([NFS3ERR_ISDIR, NFS3ERR_EXIST].contains(statuses[2]))
            #expect([NFS3ERR_NOTDIR, NFS3ERR_EXIST].contains(statuses[3]))
            #expect(try session.client.rename(root, "full", to: root, "renamed").status == NFS3_OK)
        }
    }

    @Test("LINK gives a file one name more")
    func links() async throws {
        try await Session.run { session in
            let file = try session.file("file", [1])
            let before = try session.attributes(session.root)
            let reply = try session.client.link(file, session.root, "second")
            #expect(reply.status == NFS3_OK)
            #expect(reply.attributes?.nlink == 2)
            expectEqual(try #require(reply.attributes), try session.stat("second"))
            try expectTrue(reply.wcc, before: before, object: session.root, session)
            #expect(try session.client.remove(session.root, "file").status == NFS3_OK)
            #expect(try session.client.read(file, offset: 0, count: 1).bytes == [1])
        }
    }

    @Test("LINK refuses names that are taken, directories, and places that are no directory")
    func refusesLink() async throws {
        try await Session.run { session in
            let file = try session.file("file", [1])
            let taken = try session.client.link(file, session.root, "file")
            #expect(taken.status == NFS3ERR_EXIST)
            #expect(taken.attributes?.nlink == 1)
            #expect(taken.wcc?.after.value != nil)
            #expect(try session.client.link(file, file, "x").status == NFS3ERR_NOTDIR)
            #expect(mkdir(session.path("directory"), 0o755) == 0)
            let status = try session.client.link(try session.handle("directory"), session.root, "x").status
            #expect([NFS3ERR_ISDIR, NFS3ERR_PERM, NFS3ERR_INVAL].contains(status))
        }
    }
}
