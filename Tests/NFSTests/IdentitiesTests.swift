import BlockStorage
import Datastore
import Foundation
import RPCGenClient
import SunRPC
import Synchronization
import Testing

@testable import NFS

@Suite("Credentials")
struct IdentitiesTests {
    private static let origin = WorkOrigin(client: 1, connection: 1)

    private func user(_ uid: UInt32, groups: [UInt32]) -> RPCCredential {
        .system(AuthSystem(stamp: 0, machine: "client", uid: uid, gid: 5, groups: groups))
    }

    /// Whom `credential` is found to name.
    private func find(_ credential: RPCCredential, _ identities: Identities) async -> Credentials {
        await withCheckedContinuation { continuation in
            identities.find(credential, of: Self.origin) { continuation.resume(returning: $0) }
        }
    }

    @Test("AUTH_NONE is nobody, AUTH_SYS whom it names")
    func maps() {
        let identities = Identities { _ in
            Issue.record("the user database is asked for no reason")
            return []
        }
        #expect(identities.credentialsIfKnown(.none) == .anonymous)
        let few = identities.credentialsIfKnown(user(7, groups: [1, 2, 3]))
        #expect(few == Credentials(uid: 7, gid: 5, groups: [1, 2, 3]))
    }

    @Test("A user whose groups fill the credential is looked up, once")
    func looksUp() async {
        let count = Mutex(0)
        let identities = Identities { uid in
            count.withLock { $0 += 1 }
            return [uid, 3, 901, 900]
        }
        let groups = Array(0..<16 as Range<UInt32>)
        #expect(identities.credentialsIfKnown(user(7, groups: groups)) == nil)
        for _ in 0..<3 {
            if let known = identities.credentialsIfKnown(user(7, groups: groups)) {
                #expect(known == Credentials(uid: 7, gid: 5, groups: groups + [900, 901]))
            } else {
                _ = await find(user(7, groups: groups), identities)
            }
        }
        #expect(count.withLock { $0 } == 1)
        #expect(await find(user(800, groups: groups), identities).groups == groups + [800, 900, 901])
        // Whatever groups come with the same user, he is the same in the user database.
        let others = groups.map { $0 + 1000 }
        let other = Credentials(uid: 7, gid: 5, groups: [3, 7, 900, 901] + others)
        #expect(identities.credentialsIfKnown(user(7, groups: others)) == other)
        #expect(identities.credentialsIfKnown(user(7, groups: groups))?.groups == groups + [900, 901])
    }

    @Test("Calls that come while the user database is asked wait for the same answer, and nobody else does")
    func asksOnce() async {
        let count = Mutex(0)
        let door = DispatchSemaphore(value: 0)
        let identities = Identities { _ in
            count.withLock { $0 += 1 }
            door.wait()
            return [99]
        }
        let full = user(7, groups: Array(0..<16))
        await withTaskGroup(of: Credentials.self) { group in
            for _ in 0..<10 { group.addTask { await find(full, identities) } }
            #expect(identities.credentialsIfKnown(user(8, groups: [1]))?.uid == 8)
            // So that all ten may come; any that comes later asks a second time, which the count would show.
            while identities.waitingCount < 10 { await Task.yield() }
            door.signal()
            for await credentials in group { #expect(credentials.isMember(of: 99)) }
        }
        #expect(count.withLock { $0 } == 1)
    }

    @Test("No client's look-ups keep another client waiting")
    func sharesTheUserDatabase() async throws {
        let door = DispatchSemaphore(value: 0)
        let begun = Mutex(0)
        let identities = Identities { uid in
            guard uid < 1000 else { return [99] }
            begun.withLock { $0 += 1 }
            door.wait()
            return []
        }
        let groups = Array(0..<16 as Range<UInt32>)
        let answered = Mutex<Set<UInt32>>([])
        func ask(_ uid: UInt32, client: Int) {
            identities.find(user(uid, groups: groups), of: WorkOrigin(client: client, connection: client)) { _ in
                answered.withLock { _ = $0.insert(uid) }
            }
        }
        for uid in 0..<100 as Range<UInt32> { ask(uid, client: 1) }
        // Which the first client has asked for, too, after all others.
        ask(1000, client: 1)
        while begun.withLock({ $0 }) < 1 { await Task.yield() }
        ask(1000, client: 2)
        for _ in 0..<5000 where answered.withLock({ $0.isEmpty }) { try await Task.sleep(for: .milliseconds(1)) }
        #expect(answered.withLock { $0 } == [1000])
        for _ in 0..<100 { door.signal() }
        while identities.waitingCount > 0 { try await Task.sleep(for: .milliseconds(1)) }
    }

    @Test("What is kept of the user database is bounded")
    func isBounded() {
        let identities = Identities { _ in [] }
        let groups = Array(0..<16 as Range<UInt32>)
        let users = UInt32(Identities.capacity) + 1
        // Without giving way to other tests, for which an answer would grow too old.
        for uid in 0..<users {
            let isFound = DispatchSemaphore(value: 0)
            identities.find(user(uid, groups: groups), of: Self.origin) { _ in isFound.signal() }
            isFound.wait()
        }
        #expect(identities.credentialsIfKnown(user(users - 1, groups: groups)) != nil)
        #expect(identities.credentialsIfKnown(user(0, groups: groups)) == nil)
        #expect(identities.credentialsIfKnown(user(1, groups: groups)) != nil)
    }

    @Test("Groups that the server adds are squashed like those that the client sent")
    func squashComesLast() async throws {
        try #require(getuid() == 0, "acts as other users")
        try await ServerUnderTest.run(
            configure: { $0.squashesRoot = true }, userDatabase: { _ in [0, 4000] }
        ) { server in
            let session = try Session(server)
            for (name, group) in [("roots", gid_t(0)), ("others", 4000)] {
                _ = try session.file(name)
                #expect(chown(session.path(name), 0, group) == 0 && chmod(session.path(name), 0o060) == 0)
            }
            let user = try #require(NFSClient(port: server.nfsPort))
            user.connection.authenticate(uid: 5, gid: 5, groups: Array(100..<116))
            let roots = try session.handle("roots")
            #expect(try user.write(roots, offset: 0, [1]).status == NFS3ERR_ACCES)
            #expect(try user.read(roots, offset: 0, count: 1).status == NFS3ERR_ACCES)
            #expect(try user.write(session.handle("others"), offset: 0, [1]).status == NFS3_OK)
        }
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
