import CLinux
import Foundation
import Glibc
import NIOCore
import TestTools
import Testing

@testable import Datastore

@Suite(.enabled(if: isRoot, "acts as other users")) struct PermissionTests {
    @Test(arguments: Scheme.allCases)
    func newObjectsAreTheCallers(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.attributes(test.createFile("a", as: alice))
        #expect(file.uid == alice.uid && file.gid == alice.gid)
        let directory = try test.attributes(test.makeDirectory("d", as: bob))
        #expect(directory.uid == bob.uid && directory.gid == bob.gid)
        let byRoot = try test.attributes(test.createFile("r", as: Credentials(uid: 0, gid: 42)))
        #expect(byRoot.uid == 0 && byRoot.gid == 42)
        #expect(linux_setfsuid(.max) == 0 && linux_setfsgid(.max) == 0)
    }

    @Test(arguments: Scheme.allCases)
    func strangersAreRefused(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let datastore = test.datastore
        let directory = try test.makeDirectory("d", mode: 0o755, as: alice)
        let file = try test.createFile("a", in: directory, mode: 0o644, as: alice)
        let hidden = try test.makeDirectory("hidden", mode: 0o700, as: alice)
        try test.createFile("x", in: hidden, as: alice)
        let none = AttributeChanges()
        #expect(failure { try test.createFile("b", in: directory, as: bob) } == .access)
        #expect(failure { try test.makeDirectory("b", in: directory, as: bob) } == .access)
        #expect(failure { try datastore.makeNode(directory, "b", .fifo, none, as: bob) } == .access)
        #expect(failure { try datastore.makeSymbolicLink(directory, "b", target: [1], none, as: bob) } == .access)
        #expect(failure { try datastore.remove(directory, "a", as: bob) } == .access)
        #expect(failure { try datastore.rename(directory, "a", to: test.root, "b", as: bob) } == .access)
        #expect(failure { try test.lookup("x", in: hidden, as: bob) } == .access)
        #expect(failure { try test.lookup(".", in: hidden, as: bob) } == .access)
        #expect(failure { try test.lookup("..", in: hidden, as: bob) } == .access)
        #expect(
            failure {
                try datastore.readDirectory(hidden, cookie: 0, verifier: 0, detail: .names, as: bob) { _ in true }
            } == .access)
        func change(_ changes: AttributeChanges, as user: Credentials) -> DatastoreError.Code? {
            failure { try datastore.setAttributes(file, changes, guard: nil, as: user) }
        }
        #expect(change(AttributeChanges(mode: 0o777), as: bob) == .notOwner)
        #expect(change(AttributeChanges(size: 0), as: bob) == .access)
        #expect(change(AttributeChanges(uid: bob.uid), as: bob) == .notOwner)
        #expect(change(AttributeChanges(uid: bob.uid), as: alice) == .notOwner)
        #expect(change(AttributeChanges(accessTime: .now, modificationTime: .now), as: bob) == .access)
        let past = AttributeChanges(modificationTime: .at(FileTime(seconds: 1, nanoseconds: 0)))
        #expect(change(past, as: bob) == .notOwner)
        #expect(change(past, as: alice) == nil)
        #expect(
            failure { try datastore.makeNode(test.root, "dev", .blockDevice(major: 8, minor: 0), none, as: alice) }
                == .notOwner)
        #expect(linux_setfsuid(.max) == 0 && linux_setfsgid(.max) == 0)
    }

    @Test(arguments: Scheme.allCases)
    func ownersMayAlwaysResize(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a", mode: 0o400, as: alice)
        let size = AttributeChanges(size: 10)
        #expect(try test.datastore.setAttributes(file, size, guard: nil, as: alice).after?.size == 10)
        #expect(failure { try test.datastore.setAttributes(file, size, guard: nil, as: bob) } == .access)
    }

    @Test(arguments: Scheme.allCases)
    func groupsCount(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let directory = try test.makeDirectory("d")
        let changes = AttributeChanges(mode: 0o2770, gid: 2000)
        _ = try test.datastore.setAttributes(directory, changes, guard: nil, as: .root)
        // The thread's groups are kept between calls: they must be those of the right user each time.
        for _ in 0..<3 {
            #expect(failure { try test.createFile("x", in: directory, as: alice) } == .access)
            let file = try test.createFile("x", in: directory, as: bob)
            #expect(try test.attributes(file).gid == 2000)
            _ = try test.datastore.remove(directory, "x", as: bob)
        }
    }

    @Test(arguments: Scheme.allCases)
    func accessSaysWhatTheKernelWould(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let all = AccessRights(rawValue: .max)
        func granted(_ handle: HandleAlias, _ user: Credentials) throws -> AccessRights {
            try test.datastore.access(handle, all, as: user).granted
        }
        let file = try test.createFile("a", mode: 0o640, as: alice)
        #expect(try granted(file, alice) == [.read, .modify, .extend])
        #expect(try granted(file, bob) == [])
        #expect(try granted(file, Credentials(uid: 7, gid: 7, groups: [1001])) == [.read])
        #expect(try granted(file, .root) == [.read, .modify, .extend])
        let program = try test.createFile("p", mode: 0o711, as: alice)
        #expect(try granted(program, bob) == [.execute])
        let directory = try test.makeDirectory("d", mode: 0o751, as: alice)
        #expect(try granted(directory, alice) == [.read, .lookup, .modify, .extend, .delete])
        #expect(try granted(directory, bob) == [.lookup])
        #expect(try test.datastore.access(directory, [.read], as: alice).granted == [.read])
        #expect(symlink("nowhere", test.local("link")) == 0)
        #expect(try granted(test.lookup("link"), bob).contains(.read))
    }

    @Test func squashedRootIsNobody() throws {
        let test = try TestDatastore(squashesRoot: true)
        let file = try test.attributes(test.createFile("a", as: Credentials(uid: 0, gid: 0, groups: [0, 5])))
        #expect(file.uid == 65534 && file.gid == 65534)
        let mine = try test.attributes(test.createFile("b", as: alice))
        #expect(test.mayWrite("a", as: .root))
        #expect(!test.mayWrite("b", as: .root))
        #expect(mine.uid == alice.uid)
    }

    @Test func usersThatNobodyCanBe() throws {
        let test = try TestDatastore()
        // The kernel ignores this number silently, and would go on as root.
        let nobody = Credentials(uid: .max, gid: .max, groups: [.max])
        #expect(failure { try test.createFile("a", as: nobody) } == .access)
        #expect(failure { try test.createFile("a", as: Credentials(uid: 5, gid: .max)) } == .access)
        #expect(failure { try test.createFile("a", as: Credentials(uid: .max, gid: 5)) } == .access)
        #expect(try test.names() == [".", ".."])
        #expect(linux_setfsuid(.max) == 0 && linux_setfsgid(.max) == 0)
    }

    /// Not even with groups that the server has found for a user is there a way into root's.
    @Test func squashedGroupsAreNobodys() throws {
        let test = try TestDatastore(squashesRoot: true)
        try test.makeLocalFile("roots")
        chmod(test.local("roots"), 0o060)
        let member = Credentials(uid: 5, gid: 5, groups: (0..<20).map { $0 })
        #expect(!test.mayRead("roots", as: member) && !test.mayWrite("roots", as: member))
        let file = try test.createFile("a", as: member)
        let toRoot = AttributeChanges(gid: 0)
        #expect(failure { try test.datastore.setAttributes(file, toRoot, guard: nil, as: member) } == .notOwner)
        let toOwn = AttributeChanges(gid: 19)
        #expect(failure { try test.datastore.setAttributes(file, toOwn, guard: nil, as: member) } == nil)
    }

    /// A file with names in two exports is open once; who may do what is the matter of the export that the handle is of.
    @Test func eachExportHasItsOwnRules() throws {
        try withTemporaryDirectory { path in
            chmod(path, 0o755)
            for name in ["open", "closed", "squashed"] { mkdir("\(path)/\(name)", 0o777) }
            #expect(FileManager.default.createFile(atPath: "\(path)/open/a", contents: nil))
            for name in ["closed", "squashed"] { #expect(link("\(path)/open/a", "\(path)/\(name)/a") == 0) }
            chmod("\(path)/open/a", 0o600)
            let datastore = try Datastore(
                exports: [
                    .init(path: "\(path)/open"), .init(path: "\(path)/closed", isReadOnly: true),
                    .init(path: "\(path)/squashed", squashesRoot: true),
                ], state: "\(path)/state")
            defer { datastore.close() }
            let handles = try datastore.exports.map { export in
                try datastore.lookup(datastore.mount(export.path, client: .loopback), "a", as: .root).handle
            }
            let codes: [DatastoreError.Code?] = [nil, .readOnly, .access]
            for first in 0..<3 {
                let file = try datastore.openFile(handles[first])
                for (handle, code) in zip(handles, codes) {
                    let bytes = ByteBuffer(string: "x")
                    #expect(
                        failure {
                            try datastore.write(handle, offset: 0, bytes: bytes, stability: .unstable, as: .root)
                        } == code)
                }
                datastore.files.forget(file.identity)
            }
        }
    }

    @Test func groupsAreInOrder() {
        let user = Credentials(uid: 5, gid: 7, groups: [9, 0, 3, 9, 70_000])
        #expect(user.groups == [0, 3, 9, 70_000])
        #expect([0, 3, 7, 9, 70_000].allSatisfy(user.isMember))
        #expect(![1, 8, 69_999, 70_001, .max].contains(where: user.isMember))
        #expect(user.rootSquashed.groups == [3, 9, 65534, 70_000])
        #expect(Credentials(uid: 5, gid: 7, groups: [0, 65534]).rootSquashed.groups == [65534])
    }

    @Test func dataIsForThoseWhoMay() throws {
        let test = try TestDatastore()
        let file = try test.createFile("a")
        let owners = AttributeChanges(uid: alice.uid, gid: 2000)
        _ = try test.datastore.setAttributes(file, owners, guard: nil, as: .root)
        func may(_ mode: mode_t, _ user: Credentials) -> [Bool] {
            chmod(test.local("a"), mode)
            return [test.mayRead("a", as: user), test.mayWrite("a", as: user)]
        }
        let stranger = Credentials(uid: 9, gid: 9)
        #expect(may(0o000, alice) == [true, true])
        #expect(may(0o040, bob) == [true, false])
        // The group's bits count for its members, also where others have more.
        #expect(may(0o602, bob) == [false, false])
        #expect(may(0o602, stranger) == [false, true])
        #expect(may(0o660, stranger) == [false, false])
        #expect(may(0o601, stranger) == [true, false])
        #expect(may(0o000, .root) == [true, true])
        #expect(failure { try test.read(test.root, as: alice) } == .isDirectory)
        #expect(failure { try test.write(test.root, as: alice) } == .isDirectory)
    }

    @Test func threadsActForTheirOwnUsers() throws {
        let test = try TestDatastore()
        let datastore = test.datastore
        let root = test.root
        concurrently(threads: 4) { thread in
            let user = Credentials(uid: 3000 + UInt32(thread), gid: 4000 + UInt32(thread), groups: [UInt32(thread)])
            for index in 0..<50 {
                let mode = CreateMode.guarded(AttributeChanges())
                let made = try? datastore.create(root, FileName("\(thread)-\(index)"), mode, as: user)
                #expect(made?.attributes.uid == user.uid && made?.attributes.gid == user.gid)
            }
        }
    }
}

extension TestDatastore {
    func read(_ file: Handle, as user: Credentials) throws {
        var buffer = ByteBuffer()
        _ = try datastore.read(file, offset: 0, count: 1, as: user, into: &buffer)
    }

    func write(_ file: Handle, as user: Credentials) throws {
        _ = try datastore.write(file, offset: 0, bytes: ByteBuffer(string: "x"), stability: .unstable, as: user)
    }

    func mayRead(_ name: String, as user: Credentials) -> Bool {
        let code = failure { try read(lookup(name), as: user) }
        #expect(code == nil || code == .access)
        return code == nil
    }

    func mayWrite(_ name: String, as user: Credentials) -> Bool {
        let code = failure { try write(lookup(name), as: user) }
        #expect(code == nil || code == .access)
        return code == nil
    }
}
