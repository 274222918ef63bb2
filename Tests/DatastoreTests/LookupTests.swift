import Glibc
import TestTools
import Testing

@testable import Datastore

@Suite struct LookupTests {
    @Test(arguments: Scheme.allCases)
    func findsWithAttributesOfBoth(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        try test.makeLocalFile("a", "hello")
        let found = try test.datastore.lookup(test.root, "a", as: alice)
        let status = try test.localStatus("a")
        #expect(found.attributes.fileid == UInt64(status.st_ino))
        #expect(found.attributes.size == 5)
        #expect(found.attributes.type == .regular)
        #expect(found.attributes.used == UInt64(status.st_blocks) * 512)
        #expect(found.directory?.type == .directory)
        #expect(try test.attributes(found.handle) == found.attributes)
    }

    @Test(arguments: Scheme.allCases)
    func namesThatAreNone(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        try test.createFile("a")
        #expect(failure { try test.lookup("missing") } == .noEntry)
        #expect(failure { try test.lookup("") } == .access)
        #expect(failure { try test.lookup("a/b") } == .invalidArgument)
        #expect(failure { try test.lookup("/etc/passwd") } == .invalidArgument)
        #expect(failure { try test.lookup("../state") } == .invalidArgument)
        #expect(failure { try test.lookup("a\0b") } == .invalidArgument)
        #expect(failure { try test.lookup(String(repeating: "n", count: 255)) } == .noEntry)
        #expect(failure { try test.lookup(String(repeating: "n", count: 256)) } == .nameTooLong)
        #expect(failure { try test.lookup("x", in: test.lookup("a")) } == .notDirectory)
    }

    @Test(arguments: Scheme.allCases)
    func namesInNoEncoding(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let name = FileName(bytes: [0xff, 0xfe, 0x20, 0x80])
        let made = try test.datastore.create(test.root, name, .guarded(AttributeChanges()), as: .root).handle
        #expect(try test.datastore.lookup(test.root, name, as: .root).handle == made)
    }

    @Test(arguments: Scheme.allCases)
    func dots(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let directory = try test.makeDirectory("d")
        let inner = try test.makeDirectory("inner", in: directory)
        #expect(try test.lookup(".", in: inner) == inner)
        #expect(try test.lookup("..", in: inner) == directory)
        #expect(try test.lookup("..", in: directory) == test.root)
        #expect(try test.lookup(".", in: test.root) == test.root)
    }

    @Test(arguments: Scheme.allCases)
    func theExportsParentIsOutOfReach(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        #expect(try test.lookup("..", in: test.root) == test.root)
        let inner = try test.makeDirectory("inner", in: test.makeDirectory("d"))
        #expect(rename(test.local("d/inner"), "\(test.directory)/outside") == 0)
        #expect(failure { try test.lookup("..", in: inner) } == .stale)
    }

    /// Makes 5,000 directories one in the other; returns the handles of the first and of those at `depths` below it.
    private func makeDeepDirectories(_ test: TestDatastore, handlesAt depths: Set<Int>) throws -> [HandleAlias] {
        var handles = [try test.makeDirectory("d")]
        var place = open(test.local("d"), O_RDONLY | O_DIRECTORY)
        defer { close(place) }
        for depth in 1...5000 {
            #expect(mkdirat(place, "d", 0o755) == 0)
            let next = openat(place, "d", O_RDONLY | O_DIRECTORY)
            close(place)
            place = next
            if depths.contains(depth) { handles.append(try test.handle(of: place)) }
        }
        return handles
    }

    /// Reading a directory costs about as much at any depth: the kernel says where the directory above is, and where its
    /// path is too long for that, one of each 256 above is asked.
    @Test(arguments: [DirectoryDetail.names, .attributesAndHandles])
    func readingADirectoryDoesNotClimbToTheTop(detail: DirectoryDetail) throws {
        let test = try TestDatastore()
        defer { _ = try? runTool("rm", ["-rf", test.local("d")]) }
        let root = try #require(test.datastore.roots.values.first)
        // A path of 1,000 levels can be said, one of 5,000 cannot: until it can, the kernel is asked 12 times.
        for (handle, most) in zip(try makeDeepDirectories(test, handlesAt: [1000, 5000]), [1, 1, 14]) {
            let before = root.climbs.load(ordering: .relaxed)
            var names = 0
            _ = try test.datastore.readDirectory(handle, cookie: 1, verifier: 0, detail: detail, as: .root) { entry in
                names += 1
                #expect(detail == .names || entry.handle != nil)
                return true
            }
            #expect(names > 0)
            let climbs = root.climbs.load(ordering: .relaxed) - before
            #expect((1...most).contains(climbs), "\(climbs) directories were opened")
        }
    }

    /// Deeper than a path can be long; and one level of it at a time is never asked for.
    @Test func directoriesAboveAreFoundAtAnyDepth() throws {
        let test = try TestDatastore()
        defer { _ = try? runTool("rm", ["-rf", test.local("d"), "\(test.directory)/outside"]) }
        let handles = try makeDeepDirectories(test, handlesAt: [200, 4998, 4999, 5000])
        let deepest = handles[handles.count - 1]
        #expect(try test.lookup("..", in: deepest) == handles[handles.count - 2])
        var parent: FileHandle?
        _ = try test.datastore.readDirectory(
            deepest, cookie: 1, verifier: 0, detail: .attributesAndHandles, as: .root
        ) { entry in
            parent = entry.handle
            return true
        }
        #expect(parent == handles[handles.count - 2])
        #expect(rename(test.local("d/d"), "\(test.directory)/outside") == 0)
        for handle in handles.dropFirst() {
            #expect(failure { try test.lookup("..", in: handle) } == .stale)
        }
    }

    @Test(arguments: Scheme.allCases)
    func linksAreNeverFollowed(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        #expect(symlink("/etc", test.local("absolute")) == 0)
        #expect(symlink("../state", test.local("relative")) == 0)
        for name in ["absolute", "relative"] {
            let link = try test.lookup(name)
            #expect(try test.attributes(link).type == .symbolicLink)
            #expect(failure { try test.lookup("passwd", in: link) } == .notDirectory)
            #expect(failure { try test.createFile("x", in: link) } == .notDirectory)
            #expect(failure { try test.names(in: link) } == .notDirectory)
            #expect(failure { try test.datastore.open(link, flags: O_RDONLY) } == .invalidArgument)
        }
        #expect(Glibc.access("\(test.directory)/state/x", F_OK) != 0)
    }

    @Test(.enabled(if: isRoot, "mounts a file system"))
    func otherFileSystemsAreNotEntered() throws {
        let test = try TestDatastore()
        let directory = try test.makeDirectory("d")
        try #require(mount("none", test.local("d"), "tmpfs", 0, nil) == 0)
        defer { umount(test.local("d")) }
        #expect(failure { try test.lookup("d") } == .access)
        #expect(failure { try test.datastore.removeDirectory(test.root, "d", as: .root) } != nil)
        var handles: [String: Bool] = [:]
        _ = try test.datastore.readDirectory(
            test.root, cookie: 0, verifier: 0, detail: .attributesAndHandles, as: .root
        ) { entry in
            handles[String(decoding: entry.name, as: UTF8.self)] = entry.handle != nil
            return true
        }
        #expect(handles == [".": true, "..": true, "d": false])
        // The handle of the directory under the mount still names that directory.
        #expect(try test.names(in: directory) == [".", ".."])
    }

    @Test(arguments: Scheme.allCases)
    func readsLinks(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let target = [UInt8]("../../nowhere/\u{e4}".utf8) + [0xff]
        let made = try test.datastore.makeSymbolicLink(
            test.root, "link", target: target, AttributeChanges(mode: 0o777), as: alice)
        #expect(made.attributes.type == .symbolicLink)
        #expect(made.attributes.uid == (isRoot ? alice.uid : geteuid()))
        #expect(try test.datastore.readLink(made.handle, as: bob).bytes == target)
        #expect(failure { try test.datastore.readLink(test.root, as: .root) } == .invalidArgument)
        #expect(failure { try test.datastore.readLink(test.createFile("a"), as: .root) } == .invalidArgument)
    }

    @Test(arguments: Scheme.allCases)
    func mounts(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let inner = try test.makeDirectory("inner", in: test.makeDirectory("d"))
        try test.createFile("a")
        let export = test.datastore.exports[0].path
        let datastore = test.datastore
        #expect(try datastore.mount(export, client: .loopback) == test.root)
        #expect(try datastore.mount(export + "//./d/inner/", client: .loopback) == inner)
        #expect(failure { try datastore.mount(export + "/d/missing", client: .loopback) } == .noEntry)
        #expect(failure { try datastore.mount(export + "/a", client: .loopback) } == .notDirectory)
        #expect(failure { try datastore.mount(export + "/../state", client: .loopback) } == .access)
        #expect(failure { try datastore.mount("/", client: .loopback) } == .noEntry)
        #expect(failure { try datastore.mount(export + "x", client: .loopback) } == .noEntry)
        let stranger = try #require(ClientAddress("192.0.2.1"))
        #expect(failure { try datastore.mount(export, client: stranger) } == .access)
        try test.restart()
        #expect(try test.attributes(inner).type == .directory)
        // As it was configured, with a symbolic link on the way.
        #expect(symlink(test.directory, "\(test.directory)/link") == 0)
        let alias = "\(test.directory)/link/./export"
        try test.whileClosed {
            let other = try Datastore(exports: [.init(path: alias)], state: "\(test.directory)/state", scheme)
            defer { other.close() }
            #expect(try other.mount(alias + "/d/inner", client: .loopback) == inner)
            #expect(try other.mount(export + "/d/inner", client: .loopback) == inner)
        }
    }
}

extension TestDatastore {
    /// The handle of a directory that is open as `descriptor`.
    func handle(of descriptor: Int32) throws -> Handle {
        let root = try #require(datastore.roots.values.first)
        return try datastore.handles.handle(of: OwnedDescriptor(taking: dup(descriptor), in: root))
    }
}
