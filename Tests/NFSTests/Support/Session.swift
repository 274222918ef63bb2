import Foundation
import RPCGenClient
import Testing

/// A client that has mounted the export of a server under test, as this process's user.
struct Session {
    let server: ServerUnderTest
    let client: NFSClient
    let root: Handle

    init(_ server: ServerUnderTest) throws {
        self.server = server
        client = try #require(NFSClient(port: server.nfsPort))
        client.connection.authenticate(uid: getuid(), gid: getgid())
        let mount = try #require(MountClient(port: server.mountPort))
        let mounted = try mount.mount(server.path)
        try #require(mounted.status == MNT3_OK)
        root = mounted.handle
    }

    /// Runs `body` with a session on a server of its own.
    static func run(
        prepare: (String) throws -> Void = { _ in }, _ body: (Session) async throws -> Void
    ) async throws {
        try await ServerUnderTest.run(prepare: prepare) { try await body(Session($0)) }
    }

    /// The file system's own path of `name`.
    func path(_ name: String) -> String { server.path + "/" + name }

    func stat(_ name: String) throws -> stat { try status(of: path(name)) }

    /// The handle of `name` in the root directory, which has to be there.
    func handle(_ name: String) throws -> Handle {
        let reply = try client.lookup(root, name)
        try #require(reply.status == NFS3_OK, "no \(name)")
        return try #require(reply.handle)
    }

    /// Makes a file of `bytes` behind the server's back, and looks it up.
    func file(_ name: String, _ bytes: [UInt8] = []) throws -> Handle {
        try Data(bytes).write(to: URL(fileURLWithPath: path(name)))
        #expect(chmod(path(name), 0o644) == 0)
        return try handle(name)
    }

    func attributes(_ handle: Handle) throws -> fattr3 {
        let reply = try client.getattr(handle)
        try #require(reply.status == NFS3_OK)
        return try #require(reply.attributes)
    }
}

/// lstat(2).
func status(of path: String) throws -> stat {
    var status = stat()
    guard lstat(path, &status) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    return status
}

/// Whether `attributes` say what the file system says; `fsid` is the server's own and does not count.
func expectEqual(_ attributes: fattr3, _ status: stat, sourceLocation: SourceLocation = #_sourceLocation) {
    let types: [UInt32: ftype3] = [
        S_IFREG: NF3REG, S_IFDIR: NF3DIR, S_IFBLK: NF3BLK, S_IFCHR: NF3CHR, S_IFLNK: NF3LNK, S_IFSOCK: NF3SOCK,
        S_IFIFO: NF3FIFO,
    ]
    #expect(attributes.type == types[status.st_mode & S_IFMT], sourceLocation: sourceLocation)
    #expect(attributes.mode == status.st_mode & 0o7777, sourceLocation: sourceLocation)
    #expect(attributes.nlink == UInt32(status.st_nlink), sourceLocation: sourceLocation)
    #expect(attributes.uid == status.st_uid, sourceLocation: sourceLocation)
    #expect(attributes.gid == status.st_gid, sourceLocation: sourceLocation)
    #expect(attributes.size == UInt(status.st_size), sourceLocation: sourceLocation)
    #expect(attributes.used == UInt(status.st_blocks) * 512, sourceLocation: sourceLocation)
    #expect(attributes.fileid == status.st_ino, sourceLocation: sourceLocation)
    #expect(attributes.atime == nfstime3(status.st_atim), sourceLocation: sourceLocation)
    #expect(attributes.mtime == nfstime3(status.st_mtim), sourceLocation: sourceLocation)
    #expect(attributes.ctime == nfstime3(status.st_ctim), sourceLocation: sourceLocation)
}

/// Whether `wcc` tells of the change from `before` to what `object` is now.
func expectTrue(
    _ wcc: wcc_data?, before: fattr3, object: Handle, _ session: Session,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let wcc = try #require(wcc, sourceLocation: sourceLocation)
    let pre = try #require(wcc.before.value, "no attributes from before", sourceLocation: sourceLocation)
    #expect(pre.size == before.size, sourceLocation: sourceLocation)
    #expect(pre.mtime == before.mtime, sourceLocation: sourceLocation)
    #expect(pre.ctime == before.ctime, sourceLocation: sourceLocation)
    let post = try #require(wcc.after.value, "no attributes from after", sourceLocation: sourceLocation)
    let now = try session.attributes(object)
    #expect(post.size == now.size, sourceLocation: sourceLocation)
    #expect(post.nlink == now.nlink, sourceLocation: sourceLocation)
    #expect(post.mtime == now.mtime, sourceLocation: sourceLocation)
    #expect(post.ctime == now.ctime, sourceLocation: sourceLocation)
}

extension nfstime3 {
    init(_ time: timespec) {
        self.init(seconds: UInt32(clamping: time.tv_sec), nseconds: UInt32(time.tv_nsec))
    }
}

/// Bytes that differ from place to place, the same in every run.
func pattern(_ count: Int, seed: UInt32 = 1) -> [UInt8] {
    var state = seed &* 2_654_435_761 | 1
    return (0..<count).map { _ in
        state ^= state << 13
        state ^= state >> 17
        state ^= state << 5
        return UInt8(truncatingIfNeeded: state)
    }
}
