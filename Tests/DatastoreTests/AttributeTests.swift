import Glibc
import Testing

@testable import Datastore

@Suite struct AttributeTests {
    @Test(arguments: Scheme.allCases)
    func changesEachAttribute(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        let before = try test.attributes(file)
        let changes = AttributeChanges(
            mode: 0o640, uid: isRoot ? 7 : nil, gid: isRoot ? 8 : nil, size: 10_000,
            accessTime: .at(FileTime(seconds: 1_000, nanoseconds: 5)),
            modificationTime: .at(FileTime(seconds: 4_000_000_000, nanoseconds: 999_999_999)))
        let wcc = try test.datastore.setAttributes(file, changes, guard: before.changeTime, as: .root)
        let after = try test.attributes(file)
        #expect(wcc.before == before.consistency)
        #expect(wcc.after == after)
        #expect(after.mode == 0o640 && after.size == 10_000)
        #expect(!isRoot || (after.uid == 7 && after.gid == 8))
        #expect(after.accessTime == FileTime(seconds: 1_000, nanoseconds: 5))
        #expect(after.modificationTime == FileTime(seconds: 4_000_000_000, nanoseconds: 999_999_999))
        #expect(after.type == .regular && after.linkCount == 1)
    }

    @Test(arguments: Scheme.allCases)
    func attributesOfAnOpenFileAreThereWithoutWaiting(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        #expect(test.datastore.attributesIfOpen(file) == nil)
        _ = try test.datastore.openFile(file)
        #expect(test.datastore.attributesIfOpen(file) == (try test.attributes(file)))
        #expect(test.datastore.attributesIfOpen(test.root) == nil)
        #expect(unlink(test.local("a")) == 0)
        #expect(test.datastore.attributesIfOpen(file) == nil)
    }

    @Test(arguments: Scheme.allCases)
    func guardOfAnotherTimeChangesNothing(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        let before = try test.attributes(file)
        var time = before.changeTime
        time.nanoseconds ^= 1
        let changes = AttributeChanges(mode: 0o600, size: 5)
        do {
            _ = try test.datastore.setAttributes(file, changes, guard: time, as: .root)
            Issue.record("the guard was ignored")
        } catch {
            #expect(error.error.code == .notSync)
            #expect(error.wcc.before == before.consistency)
            #expect(error.wcc.after == before)
        }
        #expect(try test.attributes(file) == before)
    }

    @Test(arguments: Scheme.allCases)
    func sizes(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        try test.makeLocalFile("a", "hello")
        let file = try test.lookup("a")
        let datastore = test.datastore
        func resize(_ handle: FileHandle, _ size: UInt64) throws {
            _ = try datastore.setAttributes(handle, AttributeChanges(size: size), guard: nil, as: .root)
        }
        try resize(file, 2)
        #expect(try test.content("a") == "he")
        try resize(file, 4)
        #expect(try test.content("a") == "he\0\0")
        let limit = try datastore.fileSystemInformation(file, as: .root).maximumFileSize
        #expect(failure { try resize(file, limit + 1) } == .fileTooBig)
        #expect(failure { try resize(file, .max) } == .fileTooBig)
        #expect(failure { try resize(test.makeDirectory("d"), 0) } == .isDirectory)
        #expect(symlink("a", test.local("link")) == 0)
        #expect(failure { try resize(test.lookup("link"), 0) } == .invalidArgument)
        #expect(mkfifo(test.local("fifo"), 0o600) == 0)
        #expect(failure { try resize(test.lookup("fifo"), 0) } == .invalidArgument)
        #expect(try test.content("a") == "he\0\0")
    }

    @Test(arguments: Scheme.allCases)
    func timesOfTheServer(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let file = try test.createFile("a")
        let old = AttributeChanges.Time.at(FileTime(seconds: 5, nanoseconds: 0))
        let datastore = test.datastore
        let both = AttributeChanges(accessTime: old, modificationTime: old)
        _ = try datastore.setAttributes(file, both, guard: nil, as: .root)
        _ = try datastore.setAttributes(file, AttributeChanges(modificationTime: .now), guard: nil, as: .root)
        let attributes = try test.attributes(file)
        #expect(attributes.accessTime.seconds == 5)
        #expect(abs(attributes.modificationTime.seconds - Int64(time(nil))) < 60)
        let odd = AttributeChanges(accessTime: .at(FileTime(seconds: 0, nanoseconds: 1_000_000_000)))
        #expect(failure { try datastore.setAttributes(file, odd, guard: nil, as: .root) } == .invalidArgument)
    }

    @Test(.enabled(if: isRoot, "gives files away"), arguments: Scheme.allCases)
    func linksHaveOwnerAndTimesOfTheirOwn(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        try test.makeLocalFile("a")
        #expect(symlink("a", test.local("link")) == 0)
        let changes = AttributeChanges(uid: 3, modificationTime: .at(FileTime(seconds: 9, nanoseconds: 0)))
        let wcc = try test.datastore.setAttributes(test.lookup("link"), changes, guard: nil, as: .root)
        #expect(wcc.after?.uid == 3 && wcc.after?.modificationTime.seconds == 9)
        #expect(try test.localStatus("a").st_uid == 0)
    }

    @Test(.enabled(if: isRoot, "makes a device"))
    func attributesOfDevices() throws {
        let test = try TestDatastore()
        let made = try test.datastore.makeNode(
            test.root, "null", .characterDevice(major: 1, minor: 3), AttributeChanges(mode: 0o600), as: .root)
        #expect(made.attributes.type == .characterDevice)
        #expect(made.attributes.deviceMajor == 1 && made.attributes.deviceMinor == 3)
        #expect(failure { try test.datastore.open(made.handle, flags: O_RDWR) } == .invalidArgument)
    }

    @Test(arguments: Scheme.allCases)
    func fsidIsTheExportsAndStays(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let fsid = try test.attributes(test.root).fsid
        #expect(try test.attributes(test.createFile("a")).fsid == fsid)
        #expect(fsid == test.datastore.exports[0].id)
        try test.restart()
        #expect(try test.attributes(test.root).fsid == fsid)
    }

    @Test func fileSystemFacts() throws {
        let test = try TestDatastore()
        let file = try test.createFile("a")
        var status = statvfs()
        #expect(statvfs(test.local(""), &status) == 0)
        let reported = try test.datastore.fileSystemStatus(file, as: alice)
        #expect(reported.totalBytes == UInt64(status.f_blocks * status.f_frsize))
        #expect(reported.availableBytes <= reported.freeBytes && reported.freeBytes <= reported.totalBytes)
        #expect(reported.totalFiles == UInt64(status.f_files))
        let facts = try test.datastore.fileSystemInformation(test.root, as: alice)
        #expect(facts.maximumFileSize >= 1 << 41)
        let limit = try #require(Int64(exactly: facts.maximumFileSize))
        #expect(truncate(test.local("a"), Int(limit)) == 0)
        #expect(limit == .max || truncate(test.local("a"), Int(limit) + 1) != 0)
        #expect(facts.timeGranularity == FileTime(seconds: 0, nanoseconds: 1))
        let names = try test.datastore.pathConfiguration(file, as: alice)
        #expect(names.maximumNameLength == 255)
        #expect(names.maximumLinks >= 127)
        let forged = try #require(FileHandle([1, 2, 3]))
        #expect(failure { try test.datastore.pathConfiguration(forged, as: alice) } == .badHandle)
        #expect(failure { try test.datastore.fileSystemStatus(forged, as: alice) } == .badHandle)
        #expect(failure { try test.datastore.fileSystemInformation(forged, as: alice) } == .badHandle)
    }
}
