import BlockStorage
import Datastore
import Glibc
import SunRPC

/// Turns RPC credentials into whom the datastore knows.
///
/// AUTH_SYS has room for 16 supplementary groups. A client that sends 16 may have had to leave some out, so that such a
/// user's groups are looked up here as well, in this machine's user database; the answers are kept for a while.
final class Identities: Sendable {
    /// The groups of a user in the user database; may block on the network.
    typealias Lookup = @Sendable (_ uid: UInt32) -> [UInt32]

    private struct Entry {
        let groups: [UInt32]
        let expiry: ContinuousClock.Instant
    }

    /// How long an answer of the user database is good.
    static let lifetime = Duration.seconds(300)
    /// The most users whose groups are kept.
    static let capacity = 1024

    private let lookUp: Lookup
    private let entries = Locked<[UInt32: Entry]>([:])

    init(lookUp: @escaping Lookup = Identities.groupsInUserDatabase) {
        self.lookUp = lookUp
    }

    /// Whom `credential` names; may block.
    func credentials(_ credential: RPCCredential) -> Credentials {
        if let known = credentialsIfKnown(credential) { return known }
        guard case .system(let user) = credential else { return .anonymous }
        let groups = lookUp(user.uid)
        remember(groups, of: user.uid)
        return Self.credentials(user, adding: groups)
    }

    /// Whom `credential` names, or nil when the user database has to be asked.
    func credentialsIfKnown(_ credential: RPCCredential) -> Credentials? {
        guard case .system(let user) = credential else { return .anonymous }
        guard user.groups.count >= AuthSystem.maximumGroups else { return Self.credentials(user, adding: []) }
        guard let groups = rememberedGroups(of: user.uid) else { return nil }
        return Self.credentials(user, adding: groups)
    }

    private static func credentials(_ user: AuthSystem, adding groups: [UInt32]) -> Credentials {
        Credentials(
            uid: user.uid, gid: user.gid,
            groups: groups.isEmpty ? user.groups : user.groups + groups.filter { !user.groups.contains($0) })
    }

    private func rememberedGroups(of uid: UInt32) -> [UInt32]? {
        let entry = entries.withLock { $0[uid] }
        guard let entry, entry.expiry > .now else { return nil }
        return entry.groups
    }

    private func remember(_ groups: [UInt32], of uid: UInt32) {
        let entry = Entry(groups: groups, expiry: .now + Self.lifetime)
        entries.withLock { entries in
            if entries.count >= Self.capacity, entries[uid] == nil {
                entries.removeAll()
            }
            entries[uid] = entry
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
