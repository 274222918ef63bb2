import Foundation
import Glibc
import NIOCore
import TestTools
import Testing

@testable import Datastore

/// SETATTR and CREATE as those who may write a file and do not own it, and as those who may do only a part of what they
/// ask for.
@Suite(.enabled(if: isRoot, "acts as other users")) struct CheckedChangesTests {
    private static let past = AttributeChanges.Time.at(FileTime(seconds: 5, nanoseconds: 0))

    /// A file of alice's that everybody may write, with content and old times.
    private func makeFile(_ test: TestDatastore, mode: UInt32 = 0o666) throws -> TestDatastore.Handle {
        let file = try test.createFile("a", mode: mode, as: alice)
        try test.makeLocalFile("a", "hello")
        let old = AttributeChanges(mode: mode, accessTime: Self.past, modificationTime: Self.past)
        _ = try test.datastore.setAttributes(file, old, guard: nil, as: alice)
        return file
    }

    /// As `>` and ftruncate come from a Linux client.
    @Test(
        arguments: Scheme.allCases,
        [
            AttributeChanges(size: 0, modificationTime: .now), AttributeChanges(size: 2, modificationTime: .now),
            AttributeChanges(size: 10, accessTime: .now, modificationTime: .now),
            AttributeChanges(size: 5, accessTime: .now, modificationTime: .now),
            AttributeChanges(modificationTime: .now), AttributeChanges(accessTime: .now),
        ])
    func whoMayWriteMayTruncate(scheme: Scheme, changes: AttributeChanges) throws {
        let test = try TestDatastore(scheme)
        let file = try makeFile(test)
        let after = try #require(try test.datastore.setAttributes(file, changes, guard: nil, as: bob).after)
        #expect(after.size == changes.size ?? 5 && after.uid == alice.uid)
        let now = Int64(time(nil))
        #expect(abs(after.modificationTime.seconds - now) < 60 || changes.modificationTime == nil)
        #expect(abs(after.accessTime.seconds - now) < 60 || changes.accessTime == nil)
        #expect(failure { try test.datastore.setAttributes(file, changes, guard: nil, as: alice) } == nil)
    }

    /// What one may do and what one may not, in one call.
    @Test(arguments: Scheme.allCases)
    func aSetattrThatFailsHasChangedNothing(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try makeFile(test)
        // Reads do not change the access time again after this one.
        #expect(try test.content("a") == "hello")
        let before = try test.attributes(file)
        let huge = AttributeChanges.Time.at(FileTime(seconds: 0, nanoseconds: 1_000_000_000))
        let cases: [(AttributeChanges, Credentials, DatastoreError.Code)] = [
            (AttributeChanges(mode: 0o600, size: 0), bob, .notOwner),
            (AttributeChanges(size: 0, modificationTime: Self.past), bob, .notOwner),
            (AttributeChanges(size: 0, accessTime: Self.past, modificationTime: .now), bob, .notOwner),
            (AttributeChanges(uid: bob.uid, size: 0), bob, .notOwner),
            (AttributeChanges(uid: alice.uid, size: 0), bob, .notOwner),
            (AttributeChanges(gid: 2000, size: 0), bob, .notOwner),
            (AttributeChanges(mode: 0o600, modificationTime: .now), bob, .notOwner),
            (AttributeChanges(mode: 0o600, uid: bob.uid), alice, .notOwner),
            (AttributeChanges(mode: 0o600, gid: 2000, size: 0, modificationTime: .now), alice, .notOwner),
            (AttributeChanges(mode: 0o600, size: .max), alice, .fileTooBig),
            (AttributeChanges(mode: 0o600, gid: alice.gid, size: 1, accessTime: huge), alice, .invalidArgument),
            (AttributeChanges(mode: 0o600, uid: 7, size: .max), .root, .fileTooBig),
            (AttributeChanges(mode: 0o600, uid: .max, size: 0), .root, .invalidArgument),
            (AttributeChanges(uid: 7, gid: .max), .root, .invalidArgument),
        ]
        for (changes, user, code) in cases {
            #expect(
                failure { try test.datastore.setAttributes(file, changes, guard: nil, as: user) } == code, "\(changes)")
            #expect(try test.attributes(file) == before, "\(changes)")
            #expect(try test.content("a") == "hello", "\(changes)")
        }
        let directory = try test.makeDirectory("d", as: alice)
        let whole = try test.attributes(directory)
        #expect(
            failure {
                try test.datastore.setAttributes(
                    directory, AttributeChanges(mode: 0o700, size: 0), guard: nil, as: alice)
            } == .isDirectory)
        #expect(try test.attributes(directory) == whole)
        #expect(symlink("nowhere", test.local("link")) == 0)
        let link = try test.lookup("link")
        let linked = try test.attributes(link)
        #expect(
            failure {
                try test.datastore.setAttributes(link, AttributeChanges(mode: 0o700, uid: 7), guard: nil, as: .root)
            } == .notSupported)
        #expect(try test.attributes(link) == linked)
    }

    @Test(arguments: Scheme.allCases)
    func strangersChangeNothing(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try makeFile(test, mode: 0o644)
        let before = try test.attributes(file)
        for changes in [
            AttributeChanges(size: 0, modificationTime: .now), AttributeChanges(modificationTime: .now),
            AttributeChanges(accessTime: .now, modificationTime: .now),
        ] {
            #expect(failure { try test.datastore.setAttributes(file, changes, guard: nil, as: bob) } == .access)
        }
        #expect(try test.attributes(file) == before)
    }

    /// As an owner opens it with O_TRUNC who may not write: RFC 1813 section 4.4; and as one who may write without
    /// owning it.
    @Test(arguments: Scheme.allCases)
    func createTakesAndCutsWhatTheCallerMayWrite(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        _ = try makeFile(test)
        let cut = CreateMode.unchecked(AttributeChanges(mode: 0o600, uid: bob.uid, size: 0, modificationTime: .now))
        #expect(try test.datastore.create(test.root, "a", cut, as: bob).attributes.size == 0)
        let status = try test.localStatus("a")
        #expect(status.st_mode & 0o7777 == 0o666 && status.st_uid == alice.uid)
        chmod(test.local("a"), 0o644)
        try test.makeLocalFile("a", "hello")
        #expect(failure { try test.datastore.create(test.root, "a", cut, as: bob) } == .access)
        #expect(try test.content("a") == "hello")
        chmod(test.local("a"), 0o444)
        #expect(try test.datastore.create(test.root, "a", cut, as: alice).attributes.size == 0)
    }

    // MARK: What the kernel does when it is another user who writes

    enum Way: CaseIterable {
        case write, resize, create
    }

    /// pjdfstest, chmod/12, and the bits of a group that may not execute: `file_remove_privs` of the kernel.
    @Test(arguments: Scheme.allCases, Way.allCases)
    func whoWritesTakesSpecialBits(scheme: Scheme, way: Way) throws {
        let test = try TestDatastore(scheme)
        let carol = Credentials(uid: 1003, gid: alice.gid)
        let cases: [(mode: UInt32, user: Credentials, after: UInt32)] = [
            (0o4777, bob, 0o777), (0o2777, bob, 0o777), (0o6777, bob, 0o777), (0o6777, alice, 0o777),
            (0o6777, .root, 0o6777), (0o2767, bob, 0o767), (0o2767, carol, 0o2767), (0o2767, alice, 0o2767),
            (0o1666, bob, 0o1666),
        ]
        for (mode, user, after) in cases {
            let file = try makeFile(test, mode: mode)
            try #require(try test.attributes(file).mode == mode)
            switch way {
            case .write:
                _ = try test.datastore.write(
                    file, offset: 1, bytes: ByteBuffer(string: "a"), stability: .fileSync, as: user)
            case .resize:
                let cut = AttributeChanges(size: 1, modificationTime: .now)
                _ = try test.datastore.setAttributes(file, cut, guard: nil, as: user)
            case .create:
                let cut = CreateMode.unchecked(AttributeChanges(size: 0))
                _ = try test.datastore.create(test.root, "a", cut, as: user)
            }
            let now = try test.attributes(file).mode
            #expect(now == after, "\(way) of \(String(mode, radix: 8)) by \(user): \(String(now, radix: 8))")
            _ = try test.datastore.remove(test.root, "a", as: .root)
        }
    }

    /// Blocks that the log takes are written, too.
    @Test func whoWritesToTheLogTakesSpecialBits() throws {
        let bed = try RedirectBed()
        try bed.serve(.writeback) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            #expect(chmod(bed.path("disk.img"), 0o6777) == 0)
            let bytes = ByteBuffer(repeating: 1, count: 4096)
            _ = try datastore.write(handle, offset: UInt64(offset), bytes: bytes, stability: .fileSync, as: bob)
            #expect(try bed.readFile(offset).first != 1, "the log did not take it")
            #expect(try datastore.getAttributes(handle, as: .root).mode == 0o777)
        }
    }

    /// Blocks that ext4 keeps for root are for nobody else, nor is what a write that did not fit has left.
    @Test(arguments: ["write", "create", "owner"])
    func reservedBlocksAreRoots(way: String) throws {
        try withTemporaryDirectory { path in
            chmod(path, 0o755)
            let export = "\(path)/export"
            mkdir(export, 0o755)
            try makeSparseFile("\(path)/image", size: 64 << 20)
            try runTool("mkfs.ext4", ["-q", "-m", "20", "-O", "^has_journal", "\(path)/image"])
            try runTool("mount", ["-o", "loop", "\(path)/image", export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            chmod(export, 0o777)
            let datastore = try Datastore(exports: [.init(path: export)], state: "\(path)/state")
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let mode = CreateMode.guarded(AttributeChanges(mode: 0o666))
            let maker = way == "owner" ? Credentials.root : alice
            let file = try datastore.create(root, "a", mode, as: maker).handle
            let free = try datastore.fileSystemStatus(root, as: alice)
            #expect(free.freeBytes - free.availableBytes > 12 << 20)
            let bytes = ByteBuffer(repeating: 0xA7, count: 1 << 20)
            func fill(as user: Credentials) throws -> DatastoreError.Code? {
                for number in 0..<UInt64(80) {
                    let code = failure {
                        try datastore.write(
                            file, offset: number << 20, bytes: bytes, stability: .fileSync, as: user)
                    }
                    if let code { return code }
                }
                return nil
            }
            #expect(try fill(as: alice) == .noSpace)
            let used = try datastore.getAttributes(file, as: .root).used
            #expect(used <= free.availableBytes && used + 4 << 20 > free.availableBytes)
            if way == "create" {
                // Directories take a block each.
                let none = AttributeChanges()
                let code = (0..<1024).lazy.compactMap { number in
                    failure { try datastore.makeDirectory(root, FileName("d\(number)"), none, as: alice) }
                }.first
                #expect(code == .noSpace)
                #expect(failure { try datastore.makeDirectory(root, "root's", none, as: .root) } == nil)
            }
            #expect(try fill(as: .root) == .noSpace)
            #expect(try datastore.getAttributes(file, as: .root).used > free.availableBytes + 8 << 20)
        }
    }
}
