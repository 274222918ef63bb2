import CLinux
import Glibc
import Synchronization

/// Whether it matters to a file system for whom the server writes data: because of quotas, which bind users and not
/// the system, or because little is free besides the blocks that ext4 keeps for root.
///
/// To write as another user takes five system calls beside the write, more than a write to memory costs. So the file
/// system is asked now and then, and where it does not care the server writes as itself.
final class CallerLimits: Sendable {
    /// How long an answer is good, in nanoseconds: no machine fills `margin` in that time.
    private static let lifetime: UInt64 = 100_000_000
    /// So many bytes must be free for all users.
    private static let margin: UInt64 = 1 << 30

    private static let ext: Int64 = 0xef53
    private static let tmpfs: Int64 = 0x0102_1994
    /// XFS and Btrfs: their limits are the file's owner's, whoever writes.
    private static let indifferent: Set<Int64> = [0x5846_5342, 0x9123_683e]
    /// Whether the kernel can be asked for quotas by a descriptor (Linux 5.14).
    private static let canAskForQuotas: Bool = {
        var format: UInt32 = 0
        return linux_quota_format(-1, 0, &format) != 0 && errno == EBADF
    }()

    private let fileSystem: Int64
    private let askedAt = Atomic<UInt64>(0)
    private let answer = Atomic(true)

    /// Of the file system that `descriptor` is in.
    init(of descriptor: Int32) {
        fileSystem = linux_file_system_type(descriptor)
    }

    /// Whether it matters now who writes; `descriptor` is in the file system.
    func matter(in descriptor: Int32) -> Bool {
        switch fileSystem {
        case Self.ext, Self.tmpfs: break
        default: return !Self.indifferent.contains(fileSystem)
        }
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        let now = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        let last = askedAt.load(ordering: .acquiring)
        guard last == 0 || now - min(last, now) >= Self.lifetime else { return answer.load(ordering: .relaxed) }
        let matters = Self.isTight(descriptor) || Self.hasQuotas(descriptor)
        answer.store(matters, ordering: .relaxed)
        askedAt.store(now, ordering: .releasing)
        return matters
    }

    private static func isTight(_ descriptor: Int32) -> Bool {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0 else { return true }
        return UInt64(status.f_bavail) < margin / max(1, UInt64(status.f_frsize))
    }

    private static func hasQuotas(_ descriptor: Int32) -> Bool {
        guard canAskForQuotas else { return true }
        var format: UInt32 = 0
        return (Int32(0)..<3).contains { linux_quota_format(descriptor, $0, &format) == 0 }
    }
}
