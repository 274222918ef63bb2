import Foundation
import Glibc
import TestTools
import Testing

@testable import Datastore

@Suite struct CreateTests {
    @Test(arguments: Scheme.allCases)
    func guardedMakesOnce(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let before = try test.attributes(test.root)
        let changes = AttributeChanges(
            mode: 0o4751, size: 4096, modificationTime: .at(FileTime(seconds: 77, nanoseconds: 0)))
        let made = try test.datastore.create(test.root, "a", .guarded(changes), as: .root)
        #expect(made.attributes.mode == 0o4751)
        #expect(made.attributes.size == 4096)
        #expect(made.attributes.modificationTime.seconds == 77)
        #expect(made.directory.before == before.consistency)
        #expect(try made.directory.after == test.attributes(test.root))
        #expect(made.directory.after?.modificationTime != before.modificationTime)
        #expect(try test.attributes(made.handle) == made.attributes)
        let present = try test.attributes(test.root)
        do {
            _ = try test.datastore.create(test.root, "a", .guarded(changes), as: .root)
            Issue.record("made twice")
        } catch {
            #expect(error.error.code == .exists)
            #expect(error.wcc == WeakCacheConsistency(before: present.consistency, after: present))
        }
    }

    @Test(arguments: Scheme.allCases)
    func uncheckedTakesWhatIsThere(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        try test.makeLocalFile("a", "hello")
        chmod(test.local("a"), 0o640)
        let mode = AttributeChanges(mode: 0o777)
        let kept = try test.datastore.create(test.root, "a", .unchecked(mode), as: .root)
        #expect(try kept.handle == test.lookup("a"))
        #expect(kept.attributes.mode == 0o640)
        #expect(try test.content("a") == "hello")
        let cut = AttributeChanges(mode: 0o777, size: 2)
        #expect(try test.datastore.create(test.root, "a", .unchecked(cut), as: .root).attributes.size == 2)
        #expect(try test.content("a") == "he")
        try test.makeDirectory("d")
        #expect(symlink("/etc/motd", test.local("link")) == 0)
        for name: FileName in ["d", "link"] {
            #expect(failure { try test.datastore.create(test.root, name, .unchecked(cut), as: .root) } == .exists)
        }
        #expect(try test.datastore.create(test.root, "new", .unchecked(cut), as: .root).attributes.size == 2)
    }

    @Test(arguments: Scheme.allCases)
    func exclusiveKnowsItsRequestAgain(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let verifiers: [UInt64] = [0, 1, .max, 0x8000_0000_7fff_ffff, 0x0123_4567_89ab_cdef]
        for (index, verifier) in verifiers.enumerated() {
            let name = FileName("a\(index)")
            let made = try test.datastore.create(test.root, name, .exclusive(verifier: verifier), as: .root)
            #expect(try test.create(name, verifier).handle == made.handle)
            try test.restart()
            let again = try test.create(name, verifier)
            #expect(again.handle == made.handle)
            #expect(again.directory.after != nil)
            for bit in 0..<64 {
                #expect(failure { try test.create(name, verifier ^ 1 << UInt64(bit)) } == .exists, "bit \(bit)")
            }
        }
        try test.createFile("other")
        #expect(failure { try test.create("other", 5) } == .exists)
        try test.makeDirectory("d")
        #expect(failure { try test.create("d", 5) } == .exists)
    }

    @Test(arguments: Scheme.allCases)
    func exclusiveLeavesTimesAlone(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let made = try test.create("a", 0x0123_4567_89ab_cdef)
        let now = Int64(time(nil))
        #expect(abs(made.attributes.modificationTime.seconds - now) < 60)
        #expect(abs(made.attributes.accessTime.seconds - now) < 60)
        // Set attributes, it is no longer as the request made it.
        let mode = AttributeChanges(mode: 0o644)
        let wcc = try test.datastore.setAttributes(made.handle, mode, guard: nil, as: .root)
        #expect(wcc.after?.modificationTime == made.attributes.modificationTime)
        #expect(failure { try test.create("a", 0x0123_4567_89ab_cdef) } == .exists)
        // Nor written to, nor cut to nothing after that.
        let other = try test.create("b", 7).handle
        try "hello".write(toFile: test.local("b"), atomically: false, encoding: .utf8)
        #expect(failure { try test.create("b", 7) } == .exists)
        _ = try test.datastore.setAttributes(other, AttributeChanges(size: 0), guard: nil, as: .root)
        #expect(failure { try test.create("b", 7) } == .exists)
    }

    /// Times that once stood for the verifier of an exclusive CREATE are a user's like any others.
    @Test(arguments: [
        FileTime(seconds: 2_147_483_647, nanoseconds: 0), FileTime(seconds: 0x8000_0000, nanoseconds: 0),
        FileTime(seconds: 5, nanoseconds: 487_211_803), FileTime(seconds: 5, nanoseconds: 911_382_323),
        FileTime(seconds: 0, nanoseconds: 0),
    ])
    func noTimeIsTakenForAVerifier(time: FileTime) throws {
        let test = try TestDatastore()
        let file = try test.createFile("a")
        let both = AttributeChanges(accessTime: .at(time), modificationTime: .at(time))
        _ = try test.datastore.setAttributes(file, both, guard: nil, as: .root)
        let mode = AttributeChanges(mode: 0o600)
        let shown = try test.datastore.setAttributes(file, mode, guard: nil, as: .root).after
        #expect(shown?.accessTime == time && shown?.modificationTime == time)
        let status = try test.localStatus("a")
        #expect(FileTime(status.st_mtim) == time && FileTime(status.st_atim) == time)
        for verifier in [0, UInt64(bitPattern: Int64(time.seconds) << 32 | Int64(time.seconds))] {
            #expect(failure { try test.create("a", verifier) } == .exists)
        }
    }

    /// Where no verifier can be kept, clients are told so, and make do with a guarded CREATE.
    @Test(.enabled(if: isRoot, "mounts a file system"))
    func aFileSystemWithoutExtendedAttributesMakesNothingExclusively() throws {
        try withTemporaryDirectory { path in
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try runTool("mount", ["-t", "ramfs", "none", export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            let datastore = try Datastore(exports: [.init(path: export)], state: "\(path)/state")
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            #expect(
                failure { try datastore.create(root, "a", .exclusive(verifier: 7), as: .root) } == .notSupported)
            #expect(failure { try datastore.lookup(root, "a", as: .root) } == .noEntry)
        }
    }

    @Test(arguments: Scheme.allCases)
    func otherKinds(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let datastore = test.datastore
        let made = try datastore.makeDirectory(test.root, "d", AttributeChanges(mode: 0o1770), as: .root)
        #expect(made.attributes.type == .directory && made.attributes.mode == 0o1770)
        #expect(made.attributes.linkCount == 2)
        #expect(try made.directory.after == test.attributes(test.root))
        let fifo = try datastore.makeNode(test.root, "f", .fifo, AttributeChanges(mode: 0o600), as: .root)
        #expect(fifo.attributes.type == .fifo && fifo.attributes.mode == 0o600)
        let socket = try datastore.makeNode(test.root, "s", .socket, AttributeChanges(), as: .root)
        #expect(socket.attributes.type == .socket)
        let none = AttributeChanges()
        for name: FileName in ["d", "f", "s"] {
            #expect(failure { try datastore.makeDirectory(test.root, name, none, as: .root) } == .exists)
            #expect(failure { try datastore.makeNode(test.root, name, .fifo, none, as: .root) } == .exists)
            #expect(
                failure { try datastore.makeSymbolicLink(test.root, name, target: [1], none, as: .root) } == .exists)
        }
        func link(_ target: [UInt8]) -> DatastoreError.Code? {
            failure { try datastore.makeSymbolicLink(test.root, "l", target: target, none, as: .root) }
        }
        #expect(link([]) == .invalidArgument)
        #expect(link([0x61, 0, 0x62]) == .invalidArgument)
        #expect(link([UInt8](repeating: 0x61, count: 5000)) == .nameTooLong)
        #expect(link([UInt8](repeating: 0x61, count: 4000)) == nil)
    }

    @Test(arguments: Scheme.allCases)
    func badNames(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let datastore = test.datastore
        let none = AttributeChanges()
        let file = try test.createFile("file")
        let cases: [(FileName, DatastoreError.Code)] = [
            ("", .access), ("a/b", .invalidArgument), ("/etc/x", .invalidArgument), ("../x", .invalidArgument),
            ("a\0", .invalidArgument), (FileName(String(repeating: "n", count: 256)), .nameTooLong),
            (".", .exists), ("..", .exists),
        ]
        for (name, code) in cases {
            #expect(failure { try datastore.create(test.root, name, .unchecked(none), as: .root) } == code)
            #expect(failure { try datastore.create(test.root, name, .exclusive(verifier: 1), as: .root) } == code)
            #expect(failure { try datastore.makeDirectory(test.root, name, none, as: .root) } == code)
            #expect(failure { try datastore.makeSymbolicLink(test.root, name, target: [1], none, as: .root) } == code)
            #expect(failure { try datastore.makeNode(test.root, name, .fifo, none, as: .root) } == code)
            #expect(failure { try datastore.link(file, test.root, name, as: .root) } == code)
        }
        #expect(try test.names() == [".", "..", "file"])
    }

    @Test(.enabled(if: isRoot, "acts as another user"), arguments: Scheme.allCases)
    func whatCannotBeFinishedIsNotLeftBehind(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let datastore = test.datastore
        let foreign = AttributeChanges(mode: 0o644, uid: 5)
        #expect(failure { try datastore.create(test.root, "a", .guarded(foreign), as: alice) } == .notOwner)
        #expect(failure { try datastore.makeDirectory(test.root, "d", foreign, as: alice) } == .notOwner)
        let huge = AttributeChanges(size: .max)
        #expect(failure { try datastore.create(test.root, "h", .guarded(huge), as: alice) } == .fileTooBig)
        #expect(try test.names() == [".", ".."])
    }

    @Test(arguments: Scheme.allCases)
    func inWhatIsNoDirectory(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        #expect(failure { try test.createFile("b", in: file) } == .notDirectory)
        #expect(failure { try test.makeDirectory("b", in: file) } == .notDirectory)
        #expect(failure { try test.datastore.remove(file, "b", as: .root) } == .notDirectory)
        #expect(failure { try test.datastore.rename(file, "b", to: test.root, "c", as: .root) } == .notDirectory)
        #expect(failure { try test.datastore.link(file, file, "b", as: .root) } == .notDirectory)
        #expect(failure { try test.names(in: file) } == .notDirectory)
    }

    @Test(arguments: Scheme.allCases)
    func readOnlyExportsChangeNothing(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        try test.makeDirectory("d")
        try test.restart(isReadOnly: true)
        let datastore = test.datastore
        let none = AttributeChanges()
        #expect(failure { try test.createFile("b") } == .readOnly)
        #expect(failure { try test.create("b", 1) } == .readOnly)
        #expect(failure { try test.makeDirectory("b") } == .readOnly)
        #expect(failure { try datastore.makeNode(test.root, "b", .fifo, none, as: .root) } == .readOnly)
        #expect(failure { try datastore.makeSymbolicLink(test.root, "b", target: [1], none, as: .root) } == .readOnly)
        #expect(failure { try datastore.remove(test.root, "a", as: .root) } == .readOnly)
        #expect(failure { try datastore.removeDirectory(test.root, "d", as: .root) } == .readOnly)
        #expect(failure { try datastore.rename(test.root, "a", to: test.root, "b", as: .root) } == .readOnly)
        #expect(failure { try datastore.link(file, test.root, "b", as: .root) } == .readOnly)
        let mode = AttributeChanges(mode: 0o600)
        do {
            _ = try datastore.setAttributes(file, mode, guard: nil, as: .root)
            Issue.record("changed a read-only export")
        } catch {
            #expect(error.error.code == .readOnly)
            #expect(try error.wcc.after == test.attributes(file))
        }
        let all = AccessRights(rawValue: 0x3f)
        #expect(try datastore.access(test.root, all, as: .root).granted == [.read, .lookup])
        #expect(failure { try test.write(file, as: .root) } == .readOnly)
        #expect(try test.names() == [".", "..", "a", "d"])
    }
}

extension TestDatastore {
    func create(_ name: FileName, _ verifier: UInt64) throws -> CreatedObject {
        try datastore.create(root, name, .exclusive(verifier: verifier), as: .root)
    }
}
