import Foundation
import RPCGenClient
import Testing

@Suite("READDIR, READDIRPLUS")
struct DirectoryTests {
    private static let fileCount = 300

    /// Names of 1 to 60 bytes or so, so that entries are of different lengths.
    private static let names = (0..<fileCount).map { "\($0)" + String(repeating: "n", count: $0 % 57) }

    private static func prepare(_ path: String) throws {
        for name in names {
            try Data(name.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        }
    }

    /// READDIR3resok as long as its reply was, in bytes.
    private static func byteCount(_ items: [DirectoryItem]) -> Int {
        items.reduce(4 + 84 + 8 + 4 + 4) { $0 + nameByteCount($1) }
    }

    private static func nameByteCount(_ item: DirectoryItem) -> Int {
        24 + (item.name.utf8.count + 3) / 4 * 4
    }

    /// The names of a whole directory, asked for with `next` until it ends.
    private func list(_ next: (_ cookie: UInt, _ verifier: [UInt8]) throws -> DirectoryReply) throws
        -> [DirectoryItem]
    {
        var items: [DirectoryItem] = []
        var cookie: UInt = 0
        var verifier = NFSClient.noVerifier
        for _ in 0..<Self.fileCount * 4 {
            let reply = try next(cookie, verifier)
            try #require(reply.status == NFS3_OK)
            try #require(!reply.items.isEmpty || reply.isEndOfDirectory, "an empty page that is not the last")
            items += reply.items
            guard !reply.isEndOfDirectory, let last = reply.items.last else { return items }
            cookie = last.cookie
            verifier = reply.verifier
        }
        Issue.record("the directory does not end")
        return items
    }

    @Test(
        "READDIR lists every name once, however few fit a reply", arguments: [200, 256, 512, 4096, 1 << 20] as [UInt32])
    func lists(count: UInt32) async throws {
        try await Session.run(prepare: Self.prepare) { session in
            let items = try list { cookie, verifier in
                let reply = try session.client.readdir(session.root, cookie: cookie, verifier: verifier, count: count)
                #expect(Self.byteCount(reply.items) <= count)
                expectEqual(try #require(reply.attributes), try status(of: session.server.path))
                return reply
            }
            #expect(items.map(\.name).sorted() == (Self.names + [".", ".."]).sorted())
            for item in items where item.name != ".." {
                #expect(item.fileid == (try session.stat(item.name).st_ino))
            }
        }
    }

    @Test("READDIR can be resumed at every cookie")
    func resumesAnywhere() async throws {
        try await Session.run(prepare: Self.prepare) { session in
            let whole = try session.client.readdir(session.root, count: 64 << 10)
            try #require(whole.isEndOfDirectory)
            for (index, item) in whole.items.enumerated() {
                let rest = try session.client.readdir(
                    session.root, cookie: item.cookie, verifier: whole.verifier, count: 64 << 10)
                try #require(rest.status == NFS3_OK)
                #expect(rest.items == Array(whole.items[(index + 1)...]))
                #expect(rest.isEndOfDirectory)
            }
        }
    }

    @Test("Cookies stay good while names come and go")
    func keepsCookies() async throws {
        try await Session.run(prepare: Self.prepare) { session in
            let first = try session.client.readdir(session.root, count: 4096)
            let seen = Set(first.items.map(\.name))
            let removed =
                Self.names.filter { !seen.contains($0) }.prefix(50) + Self.names.filter(seen.contains).prefix(20)
            for name in removed {
                try #require(try session.client.remove(session.root, name).status == NFS3_OK)
            }
            #expect(try session.client.create(session.root, "added", .guarded(.unchanged)).status == NFS3_OK)
            let rest = try session.client.readdir(
                session.root, cookie: try #require(first.items.last).cookie, verifier: first.verifier, count: 64 << 10)
            try #require(rest.status == NFS3_OK)
            let expected = Set(Self.names).subtracting(seen).subtracting(removed)
            #expect(Set(rest.items.map(\.name)).subtracting(["added", ".", ".."]) == expected)
            #expect(Set(rest.items.map(\.name)).count == rest.items.count)
        }
    }

    @Test("READDIR of a directory with nothing in it")
    func listsEmpty() async throws {
        try await Session.run { session in
            let reply = try session.client.readdir(session.root, count: 4096)
            #expect(reply.status == NFS3_OK)
            #expect(reply.isEndOfDirectory)
            #expect(Set(reply.items.map(\.name)) == [".", ".."])
            let last = try #require(reply.items.last)
            let end = try session.client.readdir(
                session.root, cookie: last.cookie, verifier: reply.verifier, count: 4096)
            #expect(end.status == NFS3_OK)
            #expect(end.items.isEmpty)
            #expect(end.isEndOfDirectory)
        }
    }

    @Test("A count that not even one entry fits is TOOSMALL")
    func refusesSmallCounts() async throws {
        try await Session.run(prepare: Self.prepare) { session in
            for count: UInt32 in [0, 1, 103, 104, 128] {
                let reply = try session.client.readdir(session.root, count: count)
                #expect(reply.status == NFS3ERR_TOOSMALL, "count \(count)")
                #expect(reply.attributes?.type == NF3DIR)
                let plus = try session.client.readdirplus(session.root, dircount: 4096, maxcount: count)
                #expect(plus.status == NFS3ERR_TOOSMALL, "maxcount \(count)")
                #expect(plus.attributes?.type == NF3DIR)
            }
            #expect(
                try session.client.readdirplus(session.root, dircount: 10, maxcount: 4096).status == NFS3ERR_TOOSMALL)
        }
    }

    @Test(
        "READDIRPLUS lists every name once, with true attributes and handles",
        arguments: [400, 4096, 1 << 20] as [UInt32])
    func listsPlus(count: UInt32) async throws {
        try await Session.run(prepare: Self.prepare) { session in
            let items = try list { cookie, verifier in
                let reply = try session.client.readdirplus(
                    session.root, cookie: cookie, verifier: verifier, dircount: 2048, maxcount: count)
                let entries = reply.items.reduce(0) { sum, item in
                    sum + Self.nameByteCount(item) + 4 + (item.attributes == nil ? 0 : 84)
                        + 4 + (item.handle.map { 4 + ($0.bytes.count + 3) / 4 * 4 } ?? 0)
                }
                #expect(4 + 84 + 8 + 4 + 4 + entries <= count)
                #expect(reply.items.reduce(0) { $0 + Self.nameByteCount($1) } <= 2048)
                return reply
            }
            #expect(items.map(\.name).sorted() == (Self.names + [".", ".."]).sorted())
            for item in items where item.name != ".." {
                var attributes = try #require(item.attributes)
                let status = try session.stat(item.name)
                // Listing a directory is an access to it.
                if item.name == "." { attributes.atime = nfstime3(status.st_atim) }
                expectEqual(attributes, status)
                let found = try session.client.lookup(session.root, item.name)
                #expect(item.handle == found.handle, "\(item.name)")
            }
        }
    }

    @Test("READDIR of what is no directory is refused")
    func refusesFiles() async throws {
        try await Session.run { session in
            let file = try session.file("file")
            let reply = try session.client.readdir(file, count: 4096)
            #expect(reply.status == NFS3ERR_NOTDIR)
            #expect(reply.attributes?.type == NF3REG)
            #expect(try session.client.readdirplus(file, dircount: 4096, maxcount: 4096).status == NFS3ERR_NOTDIR)
        }
    }
}
