import Foundation
import RPCGenClient
import Testing

@Suite("CREATE, MKDIR, SYMLINK, MKNOD")
struct CreationTests {
    /// Whether `reply` tells truly of an object made in the root directory.
    private func expectMade(
        _ reply: Reply, _ name: String, before: fattr3, _ session: Session,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        try #require(reply.status == NFS3_OK, sourceLocation: sourceLocation)
        let attributes = try #require(reply.attributes, sourceLocation: sourceLocation)
        expectEqual(attributes, try session.stat(name), sourceLocation: sourceLocation)
        #expect(reply.handle == (try session.handle(name)), sourceLocation: sourceLocation)
        try expectTrue(reply.wcc, before: before, object: session.root, session, sourceLocation: sourceLocation)
    }

    @Test("UNCHECKED makes a file, takes one that is there, and cuts it when told to")
    func createsUnchecked() async throws {
        try await Session.run { session in
            let before = try session.attributes(session.root)
            let made = try session.client.create(session.root, "file", .unchecked(.mode(0o640)))
            try expectMade(made, "file", before: before, session)
            #expect(made.attributes?.mode == 0o640)
            let file = try #require(made.handle)
            #expect(try session.client.write(file, offset: 0, pattern(100)).status == NFS3_OK)

            let taken = try session.client.create(session.root, "file", .unchecked(.mode(0o600)))
            #expect(taken.status == NFS3_OK)
            #expect(taken.handle == file)
            #expect(try session.stat("file").st_size == 100)
            #expect(try session.client.create(session.root, "file", .unchecked(.size(0))).status == NFS3_OK)
            #expect(try session.stat("file").st_size == 0)
        }
    }

    @Test("GUARDED makes a file of a size, and fails when it is there")
    func createsGuarded() async throws {
        try await Session.run { session in
            let before = try session.attributes(session.root)
            var attributes = sattr3.mode(0o600)
            attributes.size = sattr3.size(1 << 30).size
            let made = try session.client.create(session.root, "disk", .guarded(attributes))
            try expectMade(made, "disk", before: before, session)
            #expect(made.attributes?.size == 1 << 30)
            let between = try session.attributes(session.root)
            let again = try session.client.create(session.root, "disk", .guarded(.size(0)))
            #expect(again.status == NFS3ERR_EXIST)
            #expect(again.wcc?.after.value?.mtime == between.mtime)
            #expect(try session.stat("disk").st_size == 1 << 30)
        }
    }

    @Test("EXCLUSIVE is answered alike when it is repeated, and fails for another verifier")
    func createsExclusive() async throws {
        try await Session.run { session in
            let before = try session.attributes(session.root)
            let made = try session.client.create(session.root, "lock", .exclusive(0x0123_4567_89ab_cdef))
            try #require(made.status == NFS3_OK)
            #expect(made.attributes?.type == NF3REG)
            #expect(made.attributes?.fileid == (try session.stat("lock").st_ino))
            // The verifier may rest in the times, but clients do not see it there.
            #expect(abs(Int(try #require(made.attributes).mtime.seconds) - time(nil)) < 60)
            #expect(made.handle == (try session.handle("lock")))
            try expectTrue(made.wcc, before: before, object: session.root, session)
            let again = try session.client.create(session.root, "lock", .exclusive(0x0123_4567_89ab_cdef))
            #expect(again.status == NFS3_OK)
            #expect(again.handle == made.handle)
            #expect(again.wcc?.after.value != nil)
            for other: UInt in [0x0123_4567_89ab_cdee, 0x8123_4567_89ab_cdef, 0x0123_4566_89ab_cdef, 0] {
                let refused = try session.client.create(session.root, "lock", .exclusive(other))
                #expect(refused.status == NFS3ERR_EXIST)
            }
            _ = try session.file("plain")
            #expect(try session.client.create(session.root, "plain", .exclusive(7)).status == NFS3ERR_EXIST)
        }
    }

    @Test("CREATE in a file is refused; over a directory it is not OK")
    func refusesCreate() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            #expect(try session.client.create(file, "x", .guarded(.unchanged)).status == NFS3ERR_NOTDIR)
            #expect(mkdir(session.path("directory"), 0o755) == 0)
            let status = try session.client.create(session.root, "directory", .unchecked(.unchanged)).status
            #expect([NFS3ERR_EXIST, NFS3ERR_ISDIR].contains(status))
        }
    }

    @Test("MKDIR makes a directory, once")
    func makesDirectory() async throws {
        try await Session.run { session in
            let before = try session.attributes(session.root)
            let made = try session.client.mkdir(session.root, "directory", .mode(0o750))
            try expectMade(made, "directory", before: before, session)
            #expect(made.attributes?.type == NF3DIR)
            #expect(made.attributes?.mode == 0o750)
            let again = try session.client.mkdir(session.root, "directory")
            #expect(again.status == NFS3ERR_EXIST)
            #expect(again.wcc?.after.value != nil)
        }
    }

    @Test("SYMLINK makes a link of any text, once")
    func makesSymbolicLink() async throws {
        try await Session.run { session in
            let before = try session.attributes(session.root)
            let made = try session.client.symlink(session.root, "link", target: "../../a text")
            try expectMade(made, "link", before: before, session)
            #expect(made.attributes?.type == NF3LNK)
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: session.path("link")) == "../../a text")
            #expect(try session.client.symlink(session.root, "link", target: "x").status == NFS3ERR_EXIST)
            let long = String(repeating: "x", count: 5000)
            #expect(try session.client.symlink(session.root, "long", target: long).status == NFS3ERR_NAMETOOLONG)
        }
    }

    @Test("MKNOD makes pipes and sockets")
    func makesPipes() async throws {
        try await Session.run { session in
            for (name, type) in [("pipe", NF3FIFO), ("socket", NF3SOCK)] {
                let before = try session.attributes(session.root)
                let made = try session.client.mknod(session.root, name, type, .mode(0o620))
                try expectMade(made, name, before: before, session)
                #expect(made.attributes?.type == type)
                #expect(made.attributes?.mode == 0o620)
                #expect(try session.client.mknod(session.root, name, type).status == NFS3ERR_EXIST)
            }
        }
    }

    @Test("MKNOD makes devices", .enabled(if: geteuid() == 0, "devices are root's"))
    func makesDevices() async throws {
        try await Session.run { session in
            for (name, type) in [("block", NF3BLK), ("character", NF3CHR)] {
                let made = try session.client.mknod(session.root, name, type, major: 259, minor: 70_000)
                try #require(made.status == NFS3_OK)
                #expect(made.attributes?.type == type)
                #expect(made.attributes?.rdev.specdata1 == 259)
                #expect(made.attributes?.rdev.specdata2 == 70_000)
                expectEqual(try #require(made.attributes), try session.stat(name))
            }
        }
    }

    @Test("MKNOD of what other procedures make is BADTYPE")
    func refusesTypes() async throws {
        try await Session.run { session in
            for type in [NF3REG, NF3DIR, NF3LNK] {
                let reply = try session.client.mknod(session.root, "x", type)
                #expect(reply.status == NFS3ERR_BADTYPE)
            }
        }
    }
}
