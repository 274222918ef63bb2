import BlockStorage
import Glibc

/// The groups of users as this machine knows them, for those who are in more than AUTH_SYS can carry.
///
/// AUTH_SYS has room for 16 groups (RFC 5531 appendix A), and a client leaves the rest out. Whoever arrives with as
/// many as that is looked up by number in the name service; what it says is believed for a while.
final class GroupDirectory: Sendable {
    /// The most groups that AUTH_SYS carries.
    static let protocolLimit = 16

    typealias Lookup = @Sendable (_ uid: UInt32) -> [UInt32]

    private struct Entry {
        let groups: [UInt32]
        let since: ContinuousClock.Instant
    }

    private static let trusted = Duration.seconds(300)
    private static let maximumCount = 10_000

    private let lookUp: Lookup
    private let entries = Locked<[UInt32: Entry]>([:])

    init(lookUp: @escaping Lookup = GroupDirectory.nameService) {
        self.lookUp = lookUp
    }

    /// `credentials` with the groups that the client had no room for; may ask the name service, and block.
    func completed(_ credentials: Credentials) -> Credentials {
        guard credentials.groups.count >= Self.protocolLimit else { return credentials }
        var completed = credentials
        for group in groups(of: credentials.uid) where !completed.isMember(of: group) {
            completed.groups.append(group)
        }
        return completed
    }

    private func groups(of uid: UInt32) -> [UInt32] {
        if let entry = entries.withLock({ $0[uid] }), entry.since.duration(to: .now) < Self.trusted {
            return entry.groups
        }
        let groups = lookUp(uid)
        entries.withLock { entries in
            if entries.count >= Self.maximumCount { entries.removeAll() }
            entries[uid] = Entry(groups: groups, since: .now)
        }
        return groups
    }

    /// getpwuid_r(3) and getgrouplist(3); none for a user whom the machine does not know.
    static func nameService(_ uid: UInt32) -> [UInt32] {
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16 << 10)
        guard getpwuid_r(uid, &entry, &buffer, buffer.count, &found) == 0, found != nil else { return [] }
        var groups = [gid_t](repeating: 0, count: 1024)
        var count = Int32(groups.count)
        guard getgrouplist(entry.pw_name, entry.pw_gid, &groups, &count) >= 0 else { return [] }
        return Array(groups.prefix(Int(count)))
    }
}
