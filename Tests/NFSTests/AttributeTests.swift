import Foundation
import RPCGenClient
import Testing

@Suite("GETATTR, SETATTR, ACCESS, FSSTAT, FSINFO, PATHCONF")
struct AttributeTests {
    @Test("GETATTR says what lstat says, of every type of object")
    func getsAttributes() async throws {
        try await Session.run { session in
            _ = try session.file("file", pattern(10_000))
            #expect(mkdir(session.path("directory"), 0o750) == 0)
            #expect(symlink("file", session.path("symlink")) == 0)
            #expect(mkfifo(session.path("fifo"), 0o640) == 0)
            #expect(chmod(session.path("file"), 0o4711) == 0)
            #expect(link(session.path("file"), session.path("second name")) == 0)
            for name in ["file", "directory", "symlink", "fifo", "second name"] {
                let attributes = try session.attributes(try session.handle(name))
                expectEqual(attributes, try session.stat(name))
            }
            expectEqual(try session.attributes(session.root), try status(of: session.server.path))
        }
    }

    @Test("GETATTR of a file that the server has open says what lstat says at once, and that it is gone")
    func getsAttributesOfOpenFiles() async throws {
        try await Session.run { session in
            let file = try session.file("file", pattern(10_000))
            #expect(try session.client.read(file, offset: 0, count: 100).status == NFS3_OK)
            expectEqual(try session.attributes(file), try session.stat("file"))
            #expect(try session.client.write(file, offset: 20_000, [1, 2, 3]).status == NFS3_OK)
            expectEqual(try session.attributes(file), try session.stat("file"))
            #expect(chmod(session.path("file"), 0o4711) == 0)
            #expect(link(session.path("file"), session.path("second name")) == 0)
            expectEqual(try session.attributes(file), try session.stat("file"))
            #expect(unlink(session.path("file")) == 0)
            expectEqual(try session.attributes(file), try session.stat("second name"))
            #expect(unlink(session.path("second name")) == 0)
            #expect(try session.client.getattr(file).status == NFS3ERR_STALE)
        }
    }

    @Test("Every object of an export has the same fsid")
    func sharesFileSystemID() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            #expect(try session.attributes(file).fsid == session.attributes(session.root).fsid)
        }
    }

    @Test("SETATTR sets mode, size and times, and tells of the change truly")
    func setsAttributes() async throws {
        try await Session.run { session in
            let file = try session.file("file", pattern(5000))
            let before = try session.attributes(file)
            var changes = sattr3.mode(0o640)
            changes.size = sattr3.size(123_456).size
            changes.atime.set_it = SET_TO_CLIENT_TIME
            changes.atime.set_atime_u.atime = nfstime3(seconds: 1_000_000_000, nseconds: 123_456_789)
            changes.mtime.set_it = SET_TO_CLIENT_TIME
            changes.mtime.set_mtime_u.mtime = nfstime3(seconds: 1_100_000_000, nseconds: 987_654_321)
            let reply = try session.client.setattr(file, changes)
            #expect(reply.status == NFS3_OK)
            try expectTrue(reply.wcc, before: before, object: file, session)
            let status = try session.stat("file")
            #expect(status.st_mode & 0o7777 == 0o640)
            #expect(status.st_size == 123_456)
            #expect(nfstime3(status.st_atim) == nfstime3(seconds: 1_000_000_000, nseconds: 123_456_789))
            #expect(nfstime3(status.st_mtim) == nfstime3(seconds: 1_100_000_000, nseconds: 987_654_321))
            let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: session.path("file"))))
            #expect(bytes.prefix(5000) == pattern(5000)[...])
            #expect(bytes.dropFirst(5000).allSatisfy { $0 == 0 })
        }
    }

    @Test("SETATTR sets a time to the server's, and cuts a file")
    func setsServerTime() async throws {
        try await Session.run { session in
            let file = try session.file("file", pattern(5000))
            var old = sattr3()
            old.mtime.set_it = SET_TO_CLIENT_TIME
            old.mtime.set_mtime_u.mtime = nfstime3(seconds: 1, nseconds: 0)
            #expect(try session.client.setattr(file, old).status == NFS3_OK)
            var changes = sattr3.size(1000)
            changes.mtime.set_it = SET_TO_SERVER_TIME
            #expect(try session.client.setattr(file, changes).status == NFS3_OK)
            let status = try session.stat("file")
            #expect(status.st_size == 1000)
            #expect(abs(status.st_mtim.tv_sec - time(nil)) < 60)
            #expect(try session.client.read(file, offset: 0, count: 5000).bytes == Array(pattern(5000).prefix(1000)))
        }
    }

    @Test("SETATTR changes the owner", .enabled(if: geteuid() == 0, "chown is root's"))
    func setsOwner() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            var changes = sattr3()
            changes.uid.set_it = 1
            changes.uid.set_uid3_u.uid = 1234
            changes.gid.set_it = 1
            changes.gid.set_gid3_u.gid = 4321
            #expect(try session.client.setattr(file, changes).status == NFS3_OK)
            let status = try session.stat("file")
            #expect(status.st_uid == 1234)
            #expect(status.st_gid == 4321)

            let user = try #require(NFSClient(port: session.server.nfsPort))
            user.connection.authenticate(uid: 4000, gid: 4000)
            let reply = try user.setattr(file, .mode(0o777))
            #expect(reply.status == NFS3ERR_PERM)
            #expect(reply.wcc?.after.value?.mode == 0o644)
        }
    }

    @Test("SETATTR with a guard changes nothing when the change time is another")
    func honoursGuard() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            var time = try session.attributes(file).ctime
            let before = try session.attributes(file)
            time.nseconds = time.nseconds == 0 ? 1 : time.nseconds - 1
            let refused = try session.client.setattr(file, .mode(0o600), guardTime: time)
            #expect(refused.status == NFS3ERR_NOT_SYNC)
            #expect(refused.wcc?.after.value?.ctime == before.ctime)
            #expect(try session.attributes(file).mode == before.mode)
            #expect(try session.client.setattr(file, .mode(0o600), guardTime: before.ctime).status == NFS3_OK)
            #expect(try session.attributes(file).mode == 0o600)
        }
    }

    @Test("SETATTR refuses to give a directory a size")
    func refusesDirectorySize() async throws {
        try await Session.run { session in
            let reply = try session.client.setattr(session.root, .size(0))
            #expect([NFS3ERR_ISDIR, NFS3ERR_INVAL].contains(reply.status))
        }
    }

    @Test("A time with a billion nanoseconds is garbage")
    func refusesBadTime() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            var changes = sattr3()
            changes.atime.set_it = SET_TO_CLIENT_TIME
            changes.atime.set_atime_u.atime = nfstime3(seconds: 1, nseconds: 1_000_000_000)
            #expect(throws: CallFailure.garbageArguments) { try session.client.setattr(file, changes) }
        }
    }

    @Test("ACCESS grants what the mode grants")
    func grantsAccess() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            let all = ACCESS3_READ | ACCESS3_LOOKUP | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE | ACCESS3_EXECUTE
            let (reply, granted) = try session.client.access(file, all)
            #expect(reply.status == NFS3_OK)
            expectEqual(try #require(reply.attributes), try session.stat("file"))
            #expect(granted == UInt32(ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND))
            let directory = try session.client.access(session.root, all)
            let rights = ACCESS3_READ | ACCESS3_LOOKUP | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE
            #expect(directory.granted == UInt32(rights))
            #expect(try session.client.access(session.root, ACCESS3_LOOKUP).granted == UInt32(ACCESS3_LOOKUP))
        }
    }

    @Test("ACCESS tells users apart", .enabled(if: geteuid() == 0, "other users' rights need root to try"))
    func tellsUsersApart() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            #expect(chmod(session.path("file"), 0o640) == 0)
            #expect(chown(session.path("file"), 1000, 2000) == 0)
            #expect(chmod(session.server.path, 0o755) == 0)
            let user = try #require(NFSClient(port: session.server.nfsPort))
            let rights = ACCESS3_READ | ACCESS3_MODIFY
            user.connection.authenticate(uid: 1000, gid: 1000)
            #expect(try user.access(file, rights).granted == UInt32(rights))
            user.connection.authenticate(uid: 1001, gid: 1001, groups: [7, 2000])
            #expect(try user.access(file, rights).granted == UInt32(ACCESS3_READ))
            #expect(try user.read(file, offset: 0, count: 1).status == NFS3_OK)
            #expect(try user.write(file, offset: 0, [1]).status == NFS3ERR_ACCES)
            user.connection.authenticate(uid: 1001, gid: 1001)
            #expect(try user.access(file, rights).granted == 0)
            #expect(try user.read(file, offset: 0, count: 1).status == NFS3ERR_ACCES)
            user.connection.authenticateAsNobody()
            #expect(try user.access(file, rights).granted == 0)
        }
    }

    @Test("Root is nobody on an export that squashes it", .enabled(if: geteuid() == 0, "only root is squashed"))
    func squashesRoot() async throws {
        try await ServerUnderTest.run(
            configure: { $0.squashesRoot = true },
            prepare: { #expect(chmod($0, 0o777) == 0) },
            { server in
                let session = try Session(server)
                let file = try session.file("file")
                #expect(try session.client.write(file, offset: 0, [1]).status == NFS3ERR_ACCES)
                let made = try session.client.create(session.root, "made", .guarded(.mode(0o600)))
                #expect(made.status == NFS3_OK)
                #expect(try session.stat("made").st_uid == 65534)
            })
    }

    @Test("Nothing changes on a read-only export")
    func keepsReadOnlyExports() async throws {
        try await ServerUnderTest.run(configure: { $0.isReadOnly = true }) { server in
            let session = try Session(server)
            let file = try session.file("file", [1, 2, 3])
            #expect(try session.client.write(file, offset: 0, [9]).status == NFS3ERR_ROFS)
            #expect(try session.client.setattr(file, .mode(0o600)).status == NFS3ERR_ROFS)
            #expect(try session.client.create(session.root, "new", .unchecked(.unchanged)).status == NFS3ERR_ROFS)
            #expect(try session.client.remove(session.root, "file").status == NFS3ERR_ROFS)
            #expect(try session.client.read(file, offset: 0, count: 10).bytes == [1, 2, 3])
        }
    }

    @Test("FSSTAT says what statvfs says")
    func tellsFileSystemStatus() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            for object in [session.root, file] {
                let reply = try session.client.fsstat(object)
                #expect(reply.status == NFS3_OK)
                #expect(reply.result.obj_attributes.value?.fileid == (try session.attributes(object).fileid))
                var status = statvfs()
                #expect(statvfs(session.server.path, &status) == 0)
                let unit = UInt(status.f_frsize)
                #expect(reply.result.tbytes == UInt(status.f_blocks) * unit)
                #expect(reply.result.tfiles == UInt(status.f_files))
                // Others write to the same file system meanwhile.
                let slack = Int64(64 << 20)
                #expect(abs(Int64(reply.result.fbytes) - Int64(UInt(status.f_bfree) * unit)) < slack)
                #expect(abs(Int64(reply.result.abytes) - Int64(UInt(status.f_bavail) * unit)) < slack)
                #expect(abs(Int64(reply.result.ffiles) - Int64(status.f_ffree)) < 10_000)
                #expect(abs(Int64(reply.result.afiles) - Int64(status.f_favail)) < 10_000)
                #expect(reply.result.invarsec == 0)
            }
        }
    }

    @Test("FSINFO gives the sizes that READ and WRITE hold to")
    func tellsFileSystemInformation() async throws {
        try await Session.run { session in
            let reply = try session.client.fsinfo(session.root)
            #expect(reply.status == NFS3_OK)
            let info = reply.result
            #expect(info.obj_attributes.value?.type == NF3DIR)
            #expect([info.rtmax, info.rtpref, info.wtmax, info.wtpref] == [1 << 20, 1 << 20, 1 << 20, 1 << 20])
            #expect([info.rtmult, info.wtmult] == [4096, 4096])
            #expect(info.dtpref >= 4096)
            #expect(info.maxfilesize >= 1 << 40)
            #expect(info.time_delta == nfstime3(seconds: 0, nseconds: 1))
            #expect(info.properties == UInt32(FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME))
        }
    }

    @Test("PATHCONF says what pathconf says")
    func tellsPathConfiguration() async throws {
        try await Session.run { session in
            let reply = try session.client.pathconf(session.root)
            #expect(reply.status == NFS3_OK)
            #expect(reply.result.obj_attributes.value?.type == NF3DIR)
            #expect(Int(reply.result.name_max) == pathconf(session.server.path, Int32(_PC_NAME_MAX)))
            #expect(reply.result.linkmax > 1)
            #expect(reply.result.no_trunc != 0)
            #expect(reply.result.chown_restricted != 0)
            #expect(reply.result.case_insensitive == 0)
            #expect(reply.result.case_preserving != 0)
        }
    }
}
