/// Who makes a call: the numbers of AUTH_SYS (RFC 5531 appendix A), as the client sent them.
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
    /// The user's other groups.
    public var groups: [UInt32]

    /// The credentials of user `uid`.
    public init(uid: UInt32, gid: UInt32, groups: [UInt32] = []) {
        self.uid = uid
        self.gid = gid
        self.groups = groups
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
            groups: groups.map { $0 == 0 ? Self.anonymousID : $0 })
    }

    /// Whether the user is in group `group`.
    public func isMember(of group: UInt32) -> Bool {
        gid == group || groups.contains(group)
    }
}
