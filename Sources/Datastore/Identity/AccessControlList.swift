import CLinux
import Glibc
import Synchronization

/// Whether a file has an access control list (acl(5)) beside its mode, known for as long as its change time stays.
final class AccessControlList: Sendable {
    private static let name = "system.posix_acl_access"

    /// The change time in nanoseconds, shifted by one to make room for the answer.
    private let known = Atomic<UInt64>(0)

    private static func time(of attributes: FileAttributes) -> UInt64 {
        let changed = attributes.changeTime
        return UInt64(truncatingIfNeeded: changed.seconds &* 1_000_000_000 &+ Int64(changed.nanoseconds)) << 1
    }

    /// Whether the file, which is open as `descriptor` and had `attributes` a moment ago, has a list.
    func exists(for descriptor: Int32, _ attributes: FileAttributes) -> Bool {
        let time = Self.time(of: attributes)
        let known = known.load(ordering: .relaxed)
        if known & ~1 == time { return known & 1 != 0 }
        // What cannot be found out, the kernel has to decide as well.
        let exists =
            linux_fgetxattr(descriptor, Self.name, nil, 0) >= 0 || (errno != ENODATA && errno != EOPNOTSUPP)
        // Within one tick of the kernel's clock a list may come without another change time.
        var now = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &now)
        if FileTime(now) != attributes.changeTime { self.known.store(time | (exists ? 1 : 0), ordering: .relaxed) }
        return exists
    }
}
