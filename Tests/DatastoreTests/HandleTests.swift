import Glibc
import TestTools
import Testing

@testable import Datastore

typealias Scheme = DatastoreConfiguration.HandleScheme

@Suite struct HandleTests {
    @Test(arguments: Scheme.allCases)
    func oneFileHasOneHandle(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let made = try test.createFile("a")
        #expect(try test.lookup("a") == made)
        try test.restart()
        #expect(try test.lookup("a") == made)
        #expect(made.count <= 64)
        #expect(try test.createFile("b") != made)
    }

    @Test(arguments: Scheme.allCases)
    func staysGoodOverRenameAndRestart(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let directory = try test.makeDirectory("d")
        let inner = try test.makeDirectory("inner", in: directory)
        let file = try test.createFile("a", in: inner)
        let number = try test.attributes(file).fileid
        _ = try test.datastore.rename(inner, "a", to: test.root, "b", as: .root)
        #expect(try test.attributes(file).fileid == number)
        _ = try test.datastore.rename(test.root, "b", to: inner, "c", as: .root)
        _ = try test.datastore.rename(test.root, "d", to: test.root, "e", as: .root)
        #expect(try test.attributes(file).fileid == number)
        try test.restart()
        #expect(try test.attributes(file).fileid == number)
        #expect(try test.lookup("c", in: inner) == file)
    }

    @Test(arguments: Scheme.allCases)
    func findsWhatWasRenamedBehindItsBack(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let directory = try test.makeDirectory("d")
        let file = try test.createFile("a", in: directory)
        #expect(rename(test.local("d"), test.local("moved")) == 0)
        #expect(rename(test.local("moved/a"), test.local("moved/b")) == 0)
        #expect(try test.attributes(file).type == .regular)
        #expect(try test.names(in: directory) == [".", "..", "b"])
        try test.restart()
        #expect(rename(test.local("moved/b"), test.local("top")) == 0)
        #expect(try test.attributes(file).type == .regular)
    }

    @Test(arguments: Scheme.allCases)
    func aSecondNameIsEnough(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        #expect(link(test.local("a"), test.local("b")) == 0)
        _ = try test.datastore.remove(test.root, "a", as: .root)
        #expect(try test.attributes(file).linkCount == 1)
    }

    @Test(arguments: Scheme.allCases)
    func removedIsStale(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        let directory = try test.makeDirectory("d")
        let local = try test.createFile("local")
        // A descriptor that somebody holds keeps the inode, but not the handle.
        let open = try test.datastore.open(file, flags: O_RDONLY)
        _ = try test.datastore.remove(test.root, "a", as: .root)
        _ = try test.datastore.removeDirectory(test.root, "d", as: .root)
        #expect(unlink(test.local("local")) == 0)
        #expect(open.inode != 0)
        for handle in [file, directory, local] {
            #expect(failure { try test.attributes(handle) } == .stale)
        }
        #expect(failure { try test.createFile("x", in: directory) } == .stale)
    }

    @Test(arguments: Scheme.allCases)
    func reusedInodeIsStale(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        var wasReused = false
        for _ in 0..<50 where !wasReused {
            let old = try test.createFile("a")
            let number = try test.attributes(old).fileid
            #expect(unlink(test.local("a")) == 0)
            let new = try test.createFile("b")
            wasReused = try test.attributes(new).fileid == number
            #expect(old != new)
            #expect(failure { try test.attributes(old) } == .stale)
            _ = try test.datastore.remove(test.root, "b", as: .root)
        }
        #expect(wasReused, "the file system never used an inode number again")
    }

    @Test(arguments: Scheme.allCases)
    func forgedHandlesAreBad(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let bytes = try test.createFile("a").withUnsafeBytes { Array($0) }
        for index in bytes.indices {
            for bit in 0..<8 {
                var forged = bytes
                forged[index] ^= 1 << bit
                let handle = try #require(FileHandle(forged))
                #expect(failure { try test.attributes(handle) } == .badHandle, "byte \(index), bit \(bit)")
            }
        }
        for count in 1..<bytes.count {
            let handle = try #require(FileHandle(bytes.prefix(count)))
            #expect(failure { try test.attributes(handle) } == .badHandle, "\(count) bytes")
        }
        for count in bytes.count + 1...64 {
            let handle = try #require(FileHandle(bytes + [UInt8](repeating: 0, count: count - bytes.count)))
            #expect(failure { try test.attributes(handle) } == .badHandle, "\(count) bytes")
        }
        var generator = SplitMix64(seed: 1)
        for _ in 0..<1000 {
            let noise = (0..<Int.random(in: 1...64, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            let handle = try #require(FileHandle(noise))
            #expect(failure { try test.attributes(handle) } == .badHandle)
        }
        #expect(FileHandle([]) == nil)
        #expect(FileHandle([UInt8](repeating: 1, count: 65)) == nil)
    }

    @Test func anotherServersHandleIsBad() throws {
        let test = try TestDatastore()
        let other = try TestDatastore()
        #expect(failure { try test.attributes(other.root) } == .badHandle)
    }

    @Test func handleOfAnExportThatIsNoLongerServedIsStale() throws {
        let test = try TestDatastore()
        try withTemporaryDirectory { path in
            try test.whileClosed {
                let other = try Datastore(exports: [.init(path: path)], state: "\(test.directory)/state")
                defer { other.close() }
                #expect(failure { try other.getAttributes(test.root, as: .root) } == .stale)
            }
        }
    }

    @Test(.enabled(if: isRoot, "mounts a file system"))
    func aFileSystemWithoutHandlesIsServed() throws {
        try withTemporaryDirectory { path in
            for name in ["lower", "upper", "work", "export"] { mkdir("\(path)/\(name)", 0o755) }
            let options = "lowerdir=\(path)/lower,upperdir=\(path)/upper,workdir=\(path)/work"
            try runTool("mount", ["-t", "overlay", "-o", options, "none", "\(path)/export"])
            defer { umount2("\(path)/export", Int32(MNT_DETACH)) }
            let export = DatastoreConfiguration.Export(path: "\(path)/export")
            var datastore = try Datastore(exports: [export], state: "\(path)/state")
            #expect(datastore.roots.values.allSatisfy { !$0.issuesKernelHandles })
            let root = try datastore.mount("\(path)/export", client: .loopback)
            let made = try datastore.create(root, "a", .guarded(AttributeChanges(size: 5)), as: .root)
            _ = try datastore.rename(root, "a", to: root, "b", as: .root)
            datastore.close()
            datastore = try Datastore(exports: [export], state: "\(path)/state")
            defer { datastore.close() }
            #expect(try datastore.getAttributes(made.handle, as: .root).size == 5)
            _ = try datastore.remove(root, "b", as: .root)
            #expect(failure { try datastore.getAttributes(made.handle, as: .root) } == .stale)
        }
    }

    @Test(.enabled(if: isRoot, "needs CAP_DAC_READ_SEARCH"))
    func handlesOfBothSchemesWorkSideBySide() throws {
        let test = try TestDatastore(.automatic)
        let kernel = try test.createFile("a")
        let export = DatastoreConfiguration.Export(path: test.local(""))
        let attributes = try test.attributes(kernel)
        var table = kernel
        try test.whileClosed {
            let other = try Datastore(exports: [export], state: "\(test.directory)/state", .inodeTable)
            defer { other.close() }
            table = try other.lookup(test.root, "a", as: .root).handle
            #expect(try other.getAttributes(kernel, as: .root) == attributes)
        }
        #expect(table != kernel)
        #expect(try test.attributes(table) == attributes)
    }
}

extension FileName: ExpressibleByStringLiteral {
    /// The name of a literal, in UTF-8.
    public init(stringLiteral value: String) {
        self.init(value)
    }
}
