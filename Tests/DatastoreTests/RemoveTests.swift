import Glibc
import Synchronization
import Testing

@testable import Datastore

@Suite struct RemoveTests {
    @Test(arguments: Scheme.allCases)
    func removes(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        try test.createFile("a")
        try test.makeDirectory("d")
        let before = try test.attributes(test.root)
        let wcc = try test.datastore.remove(test.root, "a", as: .root)
        #expect(wcc.before == before.consistency)
        #expect(try wcc.after == test.attributes(test.root))
        _ = try test.datastore.removeDirectory(test.root, "d", as: .root)
        #expect(try test.names() == [".", ".."])
    }

    @Test(arguments: Scheme.allCases)
    func refuses(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let directory = try test.makeDirectory("d")
        try test.createFile("a", in: directory)
        try test.createFile("f")
        func remove(_ name: FileName) -> DatastoreError.Code? {
            failure { try test.datastore.remove(test.root, name, as: .root) }
        }
        func removeDirectory(_ name: FileName) -> DatastoreError.Code? {
            failure { try test.datastore.removeDirectory(test.root, name, as: .root) }
        }
        #expect(remove("missing") == .noEntry)
        #expect(remove("d") == .isDirectory)
        #expect(remove(".") == .access)
        #expect(remove("..") == .access)
        #expect(remove("") == .access)
        #expect(remove("d/a") == .invalidArgument)
        #expect(removeDirectory("missing") == .noEntry)
        #expect(removeDirectory("f") == .notDirectory)
        #expect(removeDirectory("d") == .notEmpty)
        #expect(removeDirectory(".") == .invalidArgument)
        #expect(removeDirectory("..") == .exists)
        #expect(test.localExists("d/a") && test.localExists("f"))
    }

    @Test(arguments: Scheme.allCases)
    func renames(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let directory = try test.makeDirectory("d")
        let file = try test.createFile("a")
        let before = try (test.attributes(test.root), test.attributes(directory))
        let result = try test.datastore.rename(test.root, "a", to: directory, "b", as: .root)
        #expect(result.source.before == before.0.consistency)
        #expect(result.destination.before == before.1.consistency)
        #expect(try result.source.after == test.attributes(test.root))
        #expect(try result.destination.after == test.attributes(directory))
        #expect(try test.lookup("b", in: directory) == file)
        #expect(failure { try test.lookup("a") } == .noEntry)
    }

    @Test(arguments: Scheme.allCases)
    func renameReplaces(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let old = try test.createFile("old")
        let new = try test.createFile("new")
        _ = try test.datastore.rename(test.root, "new", to: test.root, "old", as: .root)
        #expect(try test.lookup("old") == new)
        // Short of memory, the kernel may ask for patience first.
        let answers = (0..<100).lazy.map { _ in failure { try test.attributes(old) } }
        #expect(answers.first { $0 != .retryLater } == .stale)
        // Two names of one file: both stay.
        #expect(link(test.local("old"), test.local("second")) == 0)
        _ = try test.datastore.rename(test.root, "old", to: test.root, "second", as: .root)
        #expect(try test.names() == [".", "..", "old", "second"])
        #expect(try test.attributes(new).linkCount == 2)
        // Directories replace empty directories.
        let directory = try test.makeDirectory("d1")
        let empty = try test.makeDirectory("d2")
        _ = try test.datastore.rename(test.root, "d1", to: test.root, "d2", as: .root)
        #expect(try test.lookup("d2") == directory)
        #expect(failure { try test.attributes(empty) } == .stale)
    }

    @Test(arguments: Scheme.allCases)
    func renameRefuses(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let full = try test.makeDirectory("full")
        try test.createFile("a", in: full)
        try test.makeDirectory("empty")
        try test.createFile("f")
        func rename(_ from: FileName, _ directory: FileHandle, _ to: FileName) -> DatastoreError.Code? {
            failure { try test.datastore.rename(test.root, from, to: directory, to, as: .root) }
        }
        #expect(rename("missing", test.root, "x") == .noEntry)
        #expect(rename("empty", test.root, "full") == .notEmpty)
        #expect(rename("empty", test.root, "f") == .notDirectory)
        #expect(rename("f", test.root, "empty") == .isDirectory)
        #expect(rename("full", full, "self") == .invalidArgument)
        #expect(rename(".", test.root, "x") == .invalidArgument)
        #expect(rename("f", test.root, "..") == .invalidArgument)
        #expect(rename("f", full, "../x") == .invalidArgument)
        #expect(rename("f", test.root, "") == .access)
        do {
            _ = try test.datastore.rename(test.root, "missing", to: full, "x", as: .root)
        } catch {
            #expect(try error.source.after == test.attributes(test.root))
            #expect(try error.destination.before == test.attributes(full).consistency)
        }
        #expect(try test.names() == [".", "..", "empty", "f", "full"])
    }

    @Test(arguments: Scheme.allCases)
    func links(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        let directory = try test.makeDirectory("d")
        let before = try test.attributes(directory)
        let result = try test.datastore.link(file, directory, "b", as: .root)
        #expect(result.attributes?.linkCount == 2)
        #expect(result.directory.before == before.consistency)
        #expect(try test.lookup("b", in: directory) == file)
        #expect(failure { try test.datastore.link(file, directory, "b", as: .root) } == .exists)
        #expect(failure { try test.datastore.link(directory, test.root, "x", as: .root) } == .invalidArgument)
        #expect(symlink("/etc/shadow", test.local("link")) == 0)
        let link = try test.lookup("link")
        #expect(try test.datastore.link(link, directory, "link", as: .root).attributes?.type == .symbolicLink)
        #expect(try test.lookup("link", in: directory) == link)
        do {
            _ = try test.datastore.link(file, directory, "b", as: .root)
        } catch {
            #expect(error.attributes?.linkCount == 2)
            #expect(try error.directory.after == test.attributes(directory))
        }
    }

    /// Every "before" must be what an operation of this server left: none comes between two.
    @Test(arguments: Scheme.allCases)
    func attributesEncloseOneOperation(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let datastore = test.datastore
        let root = test.root
        let results = Mutex<[WeakCacheConsistency]>([])
        let first = try test.attributes(root).consistency
        concurrently(threads: 4) { thread in
            for index in 0..<40 {
                let name = FileName("\(thread)-\(index)")
                guard let made = try? datastore.create(root, name, .guarded(AttributeChanges()), as: .root),
                    let removed = try? datastore.remove(root, name, as: .root)
                else { return }
                results.withLock { $0 += [made.directory, removed] }
            }
        }
        let all = results.withLock { $0 }
        #expect(all.count == 320)
        let afters = all.compactMap { $0.after?.consistency } + [first]
        for wcc in all {
            let before = try #require(wcc.before)
            #expect(afters.contains(before))
        }
    }

    @Test func openFilesAreClosedWithTheirLastName() throws {
        let test = try TestDatastore()
        let file = try test.createFile("a")
        let other = try test.createFile("c")
        _ = try test.datastore.openFile(file)
        _ = try test.datastore.openFile(other)
        _ = try test.datastore.link(file, test.root, "b", as: .root)
        _ = try test.datastore.remove(test.root, "a", as: .root)
        #expect(test.datastore.files.file(for: file) != nil)
        _ = try test.datastore.rename(test.root, "c", to: test.root, "b", as: .root)
        #expect(test.datastore.files.file(for: file) == nil)
        #expect(test.datastore.files.file(for: other) != nil)
    }
}
