import CLinux
import Glibc
import Synchronization
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
        func granted(_ handle: FileHandle, _ user: Credentials) throws -> AccessRights {
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
        #expect(mine.uid == alice.uid)
        #expect(test.datastore.mayWrite(file, as: .root))
        #expect(!test.datastore.mayWrite(mine, as: .root))
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

    @Test func dataIsForThoseWhoMay() throws {
        let test = try TestDatastore()
        let datastore = test.datastore
        func attributes(_ mode: UInt32) throws -> FileAttributes {
            var attributes = try test.attributes(test.root)
            attributes.type = .regular
            attributes.mode = mode
            attributes.uid = alice.uid
            attributes.gid = 2000
            return attributes
        }
        let stranger = Credentials(uid: 9, gid: 9)
        #expect(datastore.mayRead(try attributes(0o000), as: alice))
        #expect(datastore.mayWrite(try attributes(0o000), as: alice))
        #expect(datastore.mayRead(try attributes(0o040), as: bob))
        #expect(!datastore.mayWrite(try attributes(0o040), as: bob))
        // The group's bits count for its members, also where others have more.
        #expect(!datastore.mayWrite(try attributes(0o602), as: bob))
        #expect(datastore.mayWrite(try attributes(0o602), as: stranger))
        #expect(!datastore.mayRead(try attributes(0o660), as: stranger))
        #expect(datastore.mayRead(try attributes(0o601), as: stranger))
        #expect(datastore.mayWrite(try attributes(0o000), as: .root))
        #expect(failure { try datastore.checkRead(attributes(0o600), as: stranger) } == .access)
        #expect(failure { try datastore.checkWrite(attributes(0o600), as: stranger) } == .access)
        #expect(failure { try datastore.checkRead(test.attributes(test.root), as: alice) } == .isDirectory)
    }

    @Test func groupsThatTheClientHadNoRoomFor() {
        let count = Atomic(0)
        let directory = GroupDirectory { uid in
            count.add(1, ordering: .relaxed)
            return uid == 5 ? [7, 100, 101] : []
        }
        let sixteen = (0..<16).map { UInt32($0 + 100) }
        let few = Credentials(uid: 5, gid: 7, groups: [100])
        #expect(directory.completed(few) == few)
        #expect(count.load(ordering: .relaxed) == 0)
        let full = Credentials(uid: 5, gid: 6, groups: sixteen)
        for _ in 0..<3 { #expect(directory.completed(full).groups == sixteen + [7]) }
        #expect(count.load(ordering: .relaxed) == 1)
        let stranger = Credentials(uid: 9, gid: 6, groups: sixteen)
        #expect(directory.completed(stranger) == stranger)
        #expect(GroupDirectory.nameService(0).contains(0))
        #expect(GroupDirectory.nameService(.max - 1).isEmpty)
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
