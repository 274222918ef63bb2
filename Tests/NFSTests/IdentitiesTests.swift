import Datastore
import Foundation
import SunRPC
import Synchronization
import Testing

@testable import NFS

@Suite("Credentials")
struct IdentitiesTests {
    private func user(_ uid: UInt32, groups: [UInt32]) -> RPCCredential {
        .system(AuthSystem(stamp: 0, machine: "client", uid: uid, gid: 5, groups: groups))
    }

    @Test("AUTH_NONE is nobody, AUTH_SYS whom it names")
    func maps() {
        let identities = Identities { _ in
            Issue.record("the user database is asked for no reason")
            return []
        }
        #expect(identities.credentials(.none) == .anonymous)
        #expect(
            identities.credentials(user(7, groups: [1, 2, 3])) == Credentials(uid: 7, gid: 5, groups: [1, 2, 3]))
    }

    @Test("A user whose groups fill the credential is looked up, once")
    func looksUp() {
        let count = Mutex(0)
        let identities = Identities { uid in
            count.withLock { $0 += 1 }
            return [uid, 3, 900, 901]
        }
        let groups = Array(0..<16 as Range<UInt32>)
        #expect(identities.credentialsIfKnown(user(7, groups: groups)) == nil)
        for _ in 0..<3 {
            let known = identities.credentials(user(7, groups: groups))
            #expect(known == Credentials(uid: 7, gid: 5, groups: groups + [900, 901]))
            #expect(identities.credentialsIfKnown(user(7, groups: groups)) == known)
        }
        #expect(count.withLock { $0 } == 1)
        #expect(identities.credentials(user(800, groups: groups)).groups == groups + [800, 900, 901])
    }

    @Test("What is kept of the user database is bounded")
    func isBounded() {
        let count = Mutex(0)
        let identities = Identities { _ in
            count.withLock { $0 += 1 }
            return []
        }
        let groups = Array(0..<16 as Range<UInt32>)
        let users = UInt32(Identities.capacity) + 1
        for uid in 0..<users {
            _ = identities.credentials(user(uid, groups: groups))
        }
        #expect(identities.credentialsIfKnown(user(users - 1, groups: groups)) != nil)
        #expect(identities.credentialsIfKnown(user(0, groups: groups)) == nil)
        #expect(count.withLock { $0 } == Int(users))
    }

    @Test("The user database says what id says")
    func asksUserDatabase() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        // By its number: of itself it would tell the groups of the thread that starts it.
        process.arguments = ["id", "-G", "\(getuid())"]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        process.waitUntilExit()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let expected = output.split(whereSeparator: \.isWhitespace).compactMap { UInt32($0) }
        try #require(!expected.isEmpty)
        #expect(Set(Identities.groupsInUserDatabase(of: getuid())) == Set(expected))
        #expect(Identities.groupsInUserDatabase(of: 3_999_999_999) == [])
    }
}
