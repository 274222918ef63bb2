import BlockStorage

/// Who makes a call: the numbers of AUTH_SYS (RFC 5531 appendix A), as the client sent them, and any groups for which
/// they had no room.
///
/// The datastore maps them to what they count for on an export (root squash), so that callers pass them on as
/// they are.
public struct Credentials: Hashable, Sendable {
    /// The user and group of those who are nobody: AUTH_NONE, and root on an export that squashes it.
    public static let anonymousID: UInt32 = 65534

    /// The user.
    public var uid: UInt32
    /// The user's first group.
    public var gid: UInt32
    /// The user's other groups, in ascending order, each once.
    public let groups: [UInt32]

    /// The credentials of user `uid`; `groups` may come in any order.
    public init(uid: UInt32, gid: UInt32, groups: [UInt32] = []) {
        self.uid = uid
        self.gid = gid
        self.groups = Self.isAscending(groups) ? groups : Set(groups).sorted()
    }

    /// Nobody, for calls without credentials.
    public static let anonymous = Credentials(uid: anonymousID, gid: anonymousID)

    /// The superuser.
    public static let root = Credentials(uid: 0, gid: 0)

    /// The same with user 0 and group 0 turned into nobody's.
    public var rootSquashed: Credentials {
        Credentials(
            uid: uid == 0 ? Self.anonymousID : uid,
            gid: gid == 0 ? Self.anonymousID : gid,
            groups: groups.first == 0 ? groups.dropFirst() + [Self.anonymousID] : groups)
    }

    /// Whether the user is in group `group`.
    public func isMember(of group: UInt32) -> Bool {
        if gid == group { return true }
        let place = groups.partitioningIndex { $0 >= group }
        return place < groups.count && groups[place] == group
    }

    private static func isAscending(_ groups: [UInt32]) -> Bool {
        var index = 1
        while index < groups.count {
            guard groups[index - 1] < groups[index] else { return false }
            index += 1
        }
        return true
    }
}
