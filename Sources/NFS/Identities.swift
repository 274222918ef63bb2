import BlockStorage
import Datastore
import Glibc
import SunRPC

/// Turns RPC credentials into whom the datastore knows.
///
/// AUTH_SYS has room for 16 supplementary groups. A client that sends 16 may have had to leave some out, so that such a
/// user's groups are looked up here as well, in this machine's user database. That may ask the network: it is done on a
/// thread of its own, once for all calls that wait for it, and what comes of it is kept for a while.
final class Identities: Sendable {
    /// The groups of a user in the user database; may block on the network.
    typealias Lookup = @Sendable (_ uid: UInt32) -> [UInt32]
    /// What is to be done for a user.
    typealias Action = @Sendable (Credentials) -> Void

    /// What of a credential says who makes a call.
    private struct User: Hashable {
        let uid: UInt32
        let gid: UInt32
        let groups: [UInt32]

        init(_ user: AuthSystem) {
            uid = user.uid
            gid = user.gid
            groups = user.groups
        }
    }

    private struct Entry {
        let credentials: Credentials
        let expiry: ContinuousClock.Instant
    }

    private struct State {
        var known: [User: Entry] = [:]
        /// What waits for an answer, by whom it is for.
        var waiting: [User: [Action]] = [:]
    }

    /// How long an answer of the user database is good.
    static let lifetime = Duration.seconds(300)
    /// The most users whose groups are kept.
    static let capacity = 1024

    private let lookUp: Lookup
    private let state = Locked(State())
    private let lookups = IOPool(name: "user-database", threadCount: 1)

    init(lookUp: @escaping Lookup = Identities.groupsInUserDatabase) {
        self.lookUp = lookUp
    }

    deinit {
        lookups.shutDown()
    }

    /// Whom `credential` names, or nil when the user database has to be asked.
    func credentialsIfKnown(_ credential: RPCCredential) -> Credentials? {
        guard case .system(let user) = credential else { return .anonymous }
        guard user.groups.count >= AuthSystem.maximumGroups else {
            return Credentials(uid: user.uid, gid: user.gid, groups: user.groups)
        }
        let entry = state.withLock { $0.known[User(user)] }
        guard let entry, entry.expiry > .now else { return nil }
        return entry.credentials
    }

    /// How many actions wait for an answer.
    var waitingCount: Int { state.withLock { $0.waiting.values.reduce(0) { $0 + $1.count } } }

    /// Has `action` done for whom `credential` names, once the user database has been asked; does not wait for that.
    func find(_ credential: RPCCredential, _ action: @escaping Action) {
        guard case .system(let credential) = credential else { return action(.anonymous) }
        let user = User(credential)
        let isAsked = state.withLock { state in
            state.waiting[user, default: []].append(action)
            return state.waiting[user]?.count != 1
        }
        guard !isAsked else { return }
        lookups.submit { [self] in
            let credentials = Credentials(uid: user.uid, gid: user.gid, groups: user.groups + lookUp(user.uid))
            let actions = state.withLock { state in
                if state.known.count >= Self.capacity, state.known[user] == nil { state.known.removeAll() }
                state.known[user] = Entry(credentials: credentials, expiry: .now + Self.lifetime)
                return state.waiting.removeValue(forKey: user) ?? []
            }
            for action in actions { action(credentials) }
        }
    }
}

extension Identities {
    /// The most groups a user can have on Linux (`NGROUPS_MAX`).
    private static let maximumGroups = 65536
    /// The most room a line of the user database is given, in bytes.
    private static let maximumRecordLength = 1 << 20

    /// The groups of `uid` as `id -G` lists them; none for a user that is not known here.
    @Sendable static func groupsInUserDatabase(of uid: UInt32) -> [UInt32] {
        var length = 1024
        while length <= maximumRecordLength {
            var user = passwd()
            var found: UnsafeMutablePointer<passwd>?
            let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: length)
            defer { buffer.deallocate() }
            let status = getpwuid_r(uid, &user, buffer, length, &found)
            if status == ERANGE {
                length *= 4
                continue
            }
            guard status == 0, found != nil, let name = user.pw_name else { return [] }
            return groups(ofUserNamed: name, primary: user.pw_gid)
        }
        return []
    }

    private static func groups(ofUserNamed name: UnsafePointer<CChar>, primary: gid_t) -> [UInt32] {
        var groups = [gid_t](repeating: 0, count: 64)
        var count = Int32(groups.count)
        // A list that is too short fails and leaves the length it should have.
        while getgrouplist(name, primary, &groups, &count) < 0 {
            guard count > groups.count, count <= maximumGroups else { return [] }
            groups = [gid_t](repeating: 0, count: Int(count))
        }
        return Array(groups.prefix(Int(count)))
    }
}
