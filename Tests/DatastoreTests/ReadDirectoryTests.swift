import Glibc
import TestTools
import Testing

@testable import Datastore

@Suite struct ReadDirectoryTests {
    /// One page of at most `limit` entries after `cookie`, as a client would ask for it.
    private func page(
        _ test: TestDatastore, _ directory: FileHandle, after cookie: UInt64, limit: Int,
        _ detail: DirectoryDetail = .names
    ) throws -> (names: [String], cookie: UInt64, isEnd: Bool) {
        var names: [String] = []
        var last = cookie
        let page = try test.datastore.readDirectory(
            directory, cookie: cookie, verifier: 0, detail: detail, as: .root
        ) { entry in
            guard names.count < limit else { return false }
            names.append(String(decoding: entry.name, as: UTF8.self))
            last = entry.cookie
            return true
        }
        return (names, last, page.isEndOfDirectory)
    }

    @Test(arguments: Scheme.allCases)
    func everyCookieCanBeResumedAt(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        for index in 0..<30 { try test.createFile("f\(index)") }
        let whole = try page(test, test.root, after: 0, limit: .max)
        #expect(whole.isEnd && whole.names.count == 32)
        #expect(Array(whole.names.prefix(2)) == [".", ".."])
        var cookie: UInt64 = 0
        for index in whole.names.indices {
            let rest = try page(test, test.root, after: cookie, limit: .max)
            #expect(rest.names == Array(whole.names[index...]))
            cookie = try page(test, test.root, after: cookie, limit: 1).cookie
        }
        let end = try page(test, test.root, after: cookie, limit: .max)
        #expect(end.names.isEmpty && end.isEnd)
    }

    @Test(arguments: Scheme.allCases)
    func attributesAndHandles(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let directory = try test.makeDirectory("d")
        let file = try test.createFile("a", in: directory)
        try test.makeDirectory("inner", in: directory)
        #expect(symlink("/etc", test.local("d/link")) == 0)
        var handles: [String: FileHandle] = [:]
        let page = try test.datastore.readDirectory(
            directory, cookie: 0, verifier: 99, detail: .attributesAndHandles, as: .root
        ) { entry in
            let name = String(decoding: entry.name, as: UTF8.self)
            handles[name] = entry.handle
            #expect(entry.attributes?.fileid == entry.fileid)
            #expect((try? entry.handle.map(test.attributes)) == entry.attributes)
            return true
        }
        #expect(page.attributes?.type == .directory)
        #expect(handles.keys.sorted() == [".", "..", "a", "inner", "link"])
        #expect(handles["a"] == file && handles["."] == directory && handles[".."] == test.root)
    }

    @Test(arguments: Scheme.allCases)
    func nothingIsHandedOutWithoutRoom(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let page = try page(test, test.root, after: 0, limit: 0)
        #expect(page.names.isEmpty && !page.isEnd)
    }

    @Test(arguments: Scheme.allCases)
    func oddCookies(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        try test.createFile("a")
        for cookie in [UInt64.max, 1 << 63] {
            #expect(failure { try page(test, test.root, after: cookie, limit: .max) } == .badCookie)
        }
        // Any other number is a place between two entries, or past the last.
        _ = try page(test, test.root, after: 1 << 40, limit: .max)
    }

    /// 5,000 entries stay, others come and go between any two pages: those that stay are read once each.
    @Test(arguments: Scheme.allCases)
    func changesBetweenPagesDisturbNobody(scheme: Scheme) throws {
        let test = try TestDatastore(scheme)
        let directory = try test.makeDirectory("d")
        for index in 0..<5000 { try test.makeLocalFile("d/stays\(index)") }
        var generator = SplitMix64(seed: 7)
        var comers: [String] = []
        var seen: [String: Int] = [:]
        var cookie: UInt64 = 0
        var pageCount = 0
        while true {
            let detail: DirectoryDetail = pageCount % 2 == 0 ? .names : .attributesAndHandles
            let page = try page(
                test, directory, after: cookie, limit: Int.random(in: 1...97, using: &generator), detail)
            for name in page.names { seen[name, default: 0] += 1 }
            if page.isEnd { break }
            cookie = page.cookie
            pageCount += 1
            for index in 0..<8 {
                let name = "comes\(pageCount)-\(index)"
                try test.makeLocalFile("d/\(name)")
                comers.append(name)
            }
            comers.shuffle(using: &generator)
            for name in comers.suffix(6) { unlink(test.local("d/\(name)")) }
            comers.removeLast(6)
        }
        #expect(pageCount > 50)
        let stayed = seen.filter { $0.key.hasPrefix("stays") }
        #expect(stayed.count == 5000)
        #expect(stayed.allSatisfy { $0.value == 1 })
        #expect(seen["."] == 1 && seen[".."] == 1)
        #expect(seen.allSatisfy { $0.value == 1 })
    }
}
