import CLinux
import Glibc

/// For whom data is written, where that makes a difference to the kernel.
struct DataWriter: Sendable {
    private let user: Credentials
    private let impersonation: Impersonation
    /// Whether the file has bits that run it as another user or group.
    private let hasSpecialBits: Bool

    /// A write to a file with `attributes` for `user`; nil when the server may as well write as itself.
    ///
    /// A write takes set-user-id and set-group-id from a file, unless it is root's (the kernel's `file_remove_privs`);
    /// and quotas and reserved blocks are the user's matter, see ``CallerLimits``.
    init?(for user: Credentials, _ attributes: FileAttributes?, in root: ExportRoot, _ impersonation: Impersonation) {
        guard impersonation.isPossible, user.uid != impersonation.server.uid else { return nil }
        hasSpecialBits = (attributes?.mode ?? 0o6000) & 0o6000 != 0
        guard hasSpecialBits || root.callerLimits.matter(in: root.descriptor) else { return nil }
        self.user = user
        self.impersonation = impersonation
    }

    /// pwritev2(2) as the user; the file was opened by the server, so that nobody asks again who may write it.
    func write(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int, at offset: Int, flags: Int32) -> Int {
        do throws(DatastoreError) {
            return try impersonation.run(as: user, mayTakeSpace: true) { () throws(DatastoreError) in
                linux_pwritev2(descriptor, bytes, count, offset, flags)
            }
        } catch {
            errno = EACCES
            return -1
        }
    }

    /// What the kernel does to a file that the user writes to, for bytes that are written elsewhere.
    func clearSpecialBits(of descriptor: Int32) {
        var status = stat()
        guard hasSpecialBits, fstat(descriptor, &status) == 0 else { return }
        var cleared: mode_t = S_ISUID
        if status.st_mode & S_IXGRP != 0 || !user.isMember(of: status.st_gid) { cleared |= S_ISGID }
        guard status.st_mode & cleared != 0 else { return }
        _ = fchmod(descriptor, status.st_mode & 0o7777 & ~cleared)
    }
}
