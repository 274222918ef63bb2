import BlockStorage
import Datastore
import Glibc
import SunRPC

/// Turns RPC credentials into whom the datastore knows.
///
/// AUTH_SYS has room for 16 supplementary groups. A client that sends 16 may have had to leave some out, so that such a
/// user's groups are looked up here as well, in this machine's user database. That may ask the network: it is done on
/// threads of its own, which clients share, once for all calls of a client that wait for it, and what comes of it is kept
/// for a while.
final class Identities: Sendable {
    /// The groups of a user in the user database; may block on the network.
    typealias Lookup = @Sendable (_ uid: UInt32) -> [UInt32]
    /// What is to be done for a user.
    typealias Action = @Sendable (Credentials) -> Void

    /// What the user database says of a user.
    private struct Entry {
        let groups: [UInt32]
        let expiry: ContinuousClock.Instant
        /// A credential of the user, and whom it names: the next is mostly the same.
        var last: (credential: AuthSystem, Credentials)?
    }

    /// Whose answer is waited for, and by whom: no client's calls stand behind another's.
    private struct Question: Hashable {
        let uid: UInt32
        let client: Int
    }

    private struct State {
        var known: [UInt32: Entry] = [:]
        var waiting: [Question: [(credential: AuthSystem, action: Action)]] = [:]

        func groups(of uid: UInt32) -> [UInt32]? { known[uid].flatMap { $0.expiry > .now ? $0.groups : nil } }

        /// Keeps an answer, in place of the oldest when there are too many.
        mutating func keep(_ groups: [UInt32], of uid: UInt32) {
            if known.count >= Identities.capacity, known[uid] == nil,
                let oldest = known.min(by: { $0.value.expiry < $1.value.expiry })
            {
                known[oldest.key] = nil
            }
            known[uid] = Entry(groups: groups, expiry: .now + Identities.lifetime)
        }
    }

    /// How long an answer of the user database is good.
    static let lifetime = Duration.seconds(300)
    /// The most users whose groups are kept.
    static let capacity = 1024
    /// Of them one is left for others, whatever one client asks for.
    static let threadCount = 4

    private let lookUp: Lookup
    private let state = Locked(State())
    private let lookups = IOPool(name: "user-database", threadCount: Identities.threadCount)

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
        return state.withLock { state in
            guard let groups = state.groups(of: user.uid) else { return nil }
            if let (credential, known) = state.known[user.uid]?.last, credential.isSameUser(as: user) { return known }
            let credentials = Credentials(user, and: groups)
            state.known[user.uid]?.last = (user, credentials)
            return credentials
        }
    }

    /// How many actions wait for an answer.
    var waitingCount: Int { state.withLock { $0.waiting.values.reduce(0) { $0 + $1.count } } }

    /// Has `action` done for whom `credential` names, once the user database has been asked; does not wait for that.
    ///
    /// - Parameter origin: whose call it is.
    func find(_ credential: RPCCredential, of origin: WorkOrigin, _ action: @escaping Action) {
        guard case .system(let user) = credential else { return action(.anonymous) }
        let question = Question(uid: user.uid, client: origin.client)
        let isAsked = state.withLock { state in
            state.waiting[question, default: []].append((user, action))
            return state.waiting[question]?.count != 1
        }
        guard !isAsked else { return }
        lookups.submit(of: origin) { [self] in
            // Another client's question may have been answered meanwhile.
            let known = state.withLock { $0.groups(of: user.uid) }
            let groups = known ?? lookUp(user.uid)
            let waiting = state.withLock { state in
                if known == nil { state.keep(groups, of: user.uid) }
                return state.waiting.removeValue(forKey: question) ?? []
            }
            for (credential, action) in waiting { action(Credentials(credential, and: groups)) }
        }
    }
}

extension Credentials {
    /// Whom `user` names, in `groups`, too.
    fileprivate init(_ user: AuthSystem, and groups: [UInt32]) {
        self.init(uid: user.uid, gid: user.gid, groups: user.groups + groups)
    }
}

extension AuthSystem {
    /// Whether both name the same user in the same groups.
    fileprivate func isSameUser(as other: AuthSystem) -> Bool {
        uid == other.uid && gid == other.gid && groups == other.groups
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
