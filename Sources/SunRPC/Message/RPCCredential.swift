/// Who a call says that it comes from (RFC 5531 section 8.2).
public enum RPCCredential: Hashable, Sendable {
    /// AUTH_NONE: nobody in particular.
    case none
    /// AUTH_SYS: a user of the client's, as the client claims.
    case system(AuthSystem)
}

/// The body of an AUTH_SYS credential (RFC 5531 appendix A).
public struct AuthSystem: Hashable, Sendable {
    /// An arbitrary number of the caller's.
    public let stamp: UInt32
    /// The client's name for itself, at most 255 bytes. Not to be trusted.
    public let machine: String
    /// The effective user.
    public let uid: UInt32
    /// The effective group.
    public let gid: UInt32
    /// Supplementary groups, at most 16.
    public let groups: [UInt32]

    /// Longest machine name, in bytes.
    public static let maximumMachineNameLength = 255
    /// Most supplementary groups that a credential can name.
    public static let maximumGroups = 16

    /// A credential with these values.
    public init(stamp: UInt32, machine: String, uid: UInt32, gid: UInt32, groups: [UInt32]) {
        self.stamp = stamp
        self.machine = machine
        self.uid = uid
        self.gid = gid
        self.groups = groups
    }

    /// Decodes the body of an AUTH_SYS credential; a machine name that is not UTF-8 is repaired, as it names nothing.
    init(from reader: inout XDRReader) throws(XDRError) {
        stamp = try reader.uint32()
        let name = try reader.opaque(max: Self.maximumMachineNameLength)
        machine = name.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        uid = try reader.uint32()
        gid = try reader.uint32()
        let count = try reader.arrayCount(max: Self.maximumGroups)
        var groups: [UInt32] = []
        groups.reserveCapacity(count)
        for _ in 0..<count {
            groups.append(try reader.uint32())
        }
        self.groups = groups
    }
}
