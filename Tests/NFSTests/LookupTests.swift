import Foundation
import RPCGenClient
import Testing

@Suite("LOOKUP, READLINK")
struct LookupTests {
    @Test("LOOKUP finds an object, with its attributes and the directory's")
    func finds() async throws {
        try await Session.run { session in
            _ = try session.file("file", [1, 2, 3])
            let reply = try session.client.lookup(session.root, "file")
            #expect(reply.status == NFS3_OK)
            expectEqual(try #require(reply.attributes), try session.stat("file"))
            expectEqual(try #require(reply.directoryAttributes), try status(of: session.server.path))
            let again = try session.client.lookup(session.root, "file")
            #expect(again.handle == reply.handle)
        }
    }

    @Test("LOOKUP of what is not there gives the directory's attributes")
    func findsNothing() async throws {
        try await Session.run { session in
            let reply = try session.client.lookup(session.root, "none")
            #expect(reply.status == NFS3ERR_NOENT)
            expectEqual(try #require(reply.directoryAttributes), try status(of: session.server.path))
        }
    }

    @Test("LOOKUP in a file is refused")
    func refusesFile() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            #expect(try session.client.lookup(file, "x").status == NFS3ERR_NOTDIR)
        }
    }

    @Test("No name leads out of the export", arguments: ["..", "../..", "../../etc", "a/../..", "/etc", "/", "a/b"])
    func staysInside(name: String) async throws {
        try await Session.run { session in
            #expect(mkdir(session.path("a"), 0o755) == 0)
            #expect(mkdir(session.path("a/b"), 0o755) == 0)
            let reply = try session.client.lookup(session.root, name)
            if reply.status == NFS3_OK {
                // `..` of the root may be the root itself.
                #expect(reply.attributes?.fileid == (try status(of: session.server.path).st_ino))
                #expect(name == "..")
            } else {
                #expect([NFS3ERR_INVAL, NFS3ERR_NOENT, NFS3ERR_ACCES].contains(reply.status))
            }
            for status in [
                try session.client.create(session.root, name, .guarded(.unchanged)).status,
                try session.client.mkdir(session.root, name).status,
                try session.client.symlink(session.root, name, target: "x").status,
                try session.client.remove(session.root, name).status,
                try session.client.rmdir(session.root, name).status,
                try session.client.rename(session.root, "a", to: session.root, name).status,
                try session.client.rename(session.root, name, to: session.root, "c").status,
            ] {
                #expect(
                    [NFS3ERR_INVAL, NFS3ERR_ACCES, NFS3ERR_EXIST, NFS3ERR_ISDIR, NFS3ERR_NOTEMPTY].contains(status))
            }
            #expect(try session.stat("a/b").st_mode & S_IFMT == S_IFDIR)
        }
    }

    @Test("LOOKUP of . and .. gives the directory and its parent")
    func findsDots() async throws {
        try await Session.run { session in
            #expect(mkdir(session.path("a"), 0o755) == 0)
            let directory = try session.handle("a")
            #expect(try session.client.lookup(directory, ".").attributes?.fileid == session.stat("a").st_ino)
            #expect(
                try session.client.lookup(directory, "..").attributes?.fileid == status(of: session.server.path).st_ino)
        }
    }

    @Test("Names have at most 255 bytes and at least one")
    func limitsNames() async throws {
        try await Session.run { session in
            let longest = String(repeating: "n", count: 255)
            #expect(try session.client.create(session.root, longest, .guarded(.unchanged)).status == NFS3_OK)
            #expect(try session.client.lookup(session.root, longest).status == NFS3_OK)
            #expect(try session.client.lookup(session.root, longest + "n").status == NFS3ERR_NAMETOOLONG)
            let huge = String(repeating: "n", count: 100_000)
            #expect(try session.client.create(session.root, huge, .guarded(.unchanged)).status == NFS3ERR_NAMETOOLONG)
            let empty = try session.client.lookup(session.root, "").status
            #expect([NFS3ERR_ACCES, NFS3ERR_INVAL, NFS3ERR_NOENT].contains(empty))
        }
    }

    @Test("READLINK gives the text, of links and of nothing else")
    func readsLinks() async throws {
        try await Session.run { session in
            let long = String(repeating: "d/", count: 1000) + "end"
            for (name, target) in [("short", "x"), ("dangling", "../no/where"), ("long", long)] {
                #expect(symlink(target, session.path(name)) == 0)
                let (reply, text) = try session.client.readlink(try session.handle(name))
                #expect(reply.status == NFS3_OK)
                #expect(text == target)
                #expect(reply.attributes?.type == NF3LNK)
            }
            let file = try session.client.readlink(try session.file("file"))
            #expect(file.reply.status == NFS3ERR_INVAL)
            #expect(file.reply.attributes?.type == NF3REG)
            #expect(try session.client.readlink(session.root).reply.status == NFS3ERR_INVAL)
        }
    }
}
