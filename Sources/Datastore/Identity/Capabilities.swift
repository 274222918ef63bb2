import CLinux

/// What a thread may do beyond what its user may (capabilities(7)).
struct Capabilities: Equatable, Sendable {
    /// One of them: the number of its bit.
    struct Kind: Sendable {
        let bit: UInt64

        /// Giving files to other users.
        static let changeOwner = Kind(bit: 1 << UInt64(linux_cap_chown))
        /// What otherwise only a file's owner may do.
        static let actAsOwner = Kind(bit: 1 << UInt64(linux_cap_fowner))
        /// Room beyond quotas, and blocks that a file system keeps for the system.
        static let exceedLimits = Kind(bit: 1 << UInt64(linux_cap_sys_resource))
        /// Looking into any process.
        static let lookIntoProcesses = Kind(bit: 1 << UInt64(linux_cap_sys_ptrace))
        /// Reading and writing any file.
        static let accessAll = Kind(bit: 1 << UInt64(linux_cap_dac_override))
        /// Acting as any user.
        static let actAsAnybody = Kind(bit: 1 << UInt64(linux_cap_setuid))
    }

    private var effective: UInt64
    private let permitted: UInt64
    private let inheritable: UInt64

    /// The calling thread's; none when the kernel does not tell.
    static func ofThread() -> Capabilities {
        var sets: (UInt64, UInt64, UInt64) = (0, 0, 0)
        let status = withUnsafeMutableBytes(of: &sets) {
            linux_capget($0.baseAddress?.assumingMemoryBound(to: UInt64.self))
        }
        guard status == 0 else { return Capabilities(effective: 0, permitted: 0, inheritable: 0) }
        return Capabilities(effective: sets.0, permitted: sets.1, inheritable: sets.2)
    }

    /// Those of a process of which its status says that these are in effect.
    init(effective: UInt64) {
        (self.effective, permitted, inheritable) = (effective, effective, 0)
    }

    private init(effective: UInt64, permitted: UInt64, inheritable: UInt64) {
        (self.effective, self.permitted, self.inheritable) = (effective, permitted, inheritable)
    }

    /// Whether `kind` is in effect.
    func has(_ kind: Kind) -> Bool { effective & kind.bit != 0 }

    /// The same without `kind` in effect.
    func without(_ kind: Kind) -> Capabilities {
        var rest = self
        rest.effective &= ~kind.bit
        return rest
    }

    /// Makes them the calling thread's, whose permitted ones must be the same; whether the kernel did.
    func assume() -> Bool {
        withUnsafeBytes(of: (effective, permitted, inheritable)) {
            linux_capset($0.baseAddress?.assumingMemoryBound(to: UInt64.self)) == 0
        }
    }
}
