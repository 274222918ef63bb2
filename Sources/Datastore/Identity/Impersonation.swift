import CLinux
import Glibc

/// Lets the kernel check permissions for a client's user: sets the calling thread's user, group and supplementary
/// groups for the time of a call.
///
/// Linux keeps these for each thread, and drops a root thread's power over files (`CAP_DAC_OVERRIDE`, `CAP_FOWNER`,
/// `CAP_CHOWN`, `CAP_FSETID` …) while its file system user is not 0 (credentials(7), capabilities(7)). That leaves
/// `CAP_SYS_RESOURCE`, with which quotas and reserved blocks do not bind: it is taken out of effect for calls that may
/// take space. This takes a process with effective user 0, `CAP_SETUID` and `CAP_SETGID`; a process of another user
/// does everything as that user.
final class Impersonation: Sendable {
    /// Whether the process can act for other users.
    let isPossible: Bool
    /// Who the process is.
    let server: Credentials
    private let capabilities = Capabilities.ofThread()
    /// What each thread of the process has for supplementary groups; they are left as they were set last, because
    /// they mean nothing once the thread is root again, and setting them is the dearest of the calls.
    private static let groupsKey: pthread_key_t = {
        var key = pthread_key_t()
        let status = pthread_key_create(&key) { pointer in
            guard let pointer else { return }
            Unmanaged<ThreadGroups>.fromOpaque(pointer).release()
        }
        guard status == 0 else { fatalError("no thread-specific storage: \(String(cString: strerror(status)))") }
        return key
    }()

    private final class ThreadGroups {
        var groups: [UInt32]?
    }

    init() {
        server = Self.ownCredentials()
        isPossible = server.uid == 0 && Self.probe(server)
    }

    /// Calls `body` as the user `credentials`; throws `access` when the kernel does not know such a user.
    ///
    /// Calls do not nest: the inner one would end as root.
    ///
    /// - Parameter mayTakeSpace: whether `body` may need room in the file system, which is then the user's to have.
    func run<R>(
        as credentials: Credentials, mayTakeSpace: Bool = false, _ body: () throws(DatastoreError) -> R
    ) throws(DatastoreError) -> R {
        guard isPossible, credentials.uid != server.uid || credentials.gid != server.gid else { return try body() }
        assert(linux_setfsuid(.max) == server.uid, "already acting for another user")
        let isLimited =
            mayTakeSpace && credentials.uid != server.uid && capabilities.has(.exceedLimits)
            && capabilities.without(.exceedLimits).assume()
        defer {
            _ = linux_setfsuid(server.uid)
            _ = linux_setfsgid(server.gid)
            // After the user: the kernel gives a thread that is root again all of root's power over files.
            if isLimited { _ = capabilities.assume() }
        }
        try assume(credentials)
        return try body()
    }

    /// Whether `user` may do to any file what its owner may.
    func mayActAsOwner(_ user: Credentials) -> Bool { user.uid == server.uid && capabilities.has(.actAsOwner) }

    /// Whether `user` may change the owner of any file.
    func mayGiveAway(_ user: Credentials) -> Bool { user.uid == server.uid && capabilities.has(.changeOwner) }

    private func assume(_ credentials: Credentials) throws(DatastoreError) {
        if credentials.uid != server.uid {
            guard Self.setThreadGroups(credentials.groups) else {
                throw DatastoreError(.access, "groups \(credentials.groups): unknown to this system")
            }
        }
        _ = linux_setfsgid(credentials.gid)
        _ = linux_setfsuid(credentials.uid)
        // The calls report nothing: setting the number that no one has tells what is set.
        guard linux_setfsgid(.max) == credentials.gid, linux_setfsuid(.max) == credentials.uid else {
            throw DatastoreError(.access, "user \(credentials.uid), group \(credentials.gid): unknown to this system")
        }
    }

    private static func setThreadGroups(_ groups: [UInt32]) -> Bool {
        let thread: ThreadGroups
        if let pointer = pthread_getspecific(groupsKey) {
            thread = Unmanaged<ThreadGroups>.fromOpaque(pointer).takeUnretainedValue()
        } else {
            thread = ThreadGroups()
            pthread_setspecific(groupsKey, Unmanaged.passRetained(thread).toOpaque())
        }
        guard thread.groups != groups else { return true }
        thread.groups = nil
        guard linux_set_thread_groups(groups.count, groups) == 0 else { return false }
        thread.groups = groups
        return true
    }

    private static func ownCredentials() -> Credentials {
        var groups = [gid_t](repeating: 0, count: 65536)
        let count = getgroups(Int32(groups.count), &groups)
        return Credentials(uid: geteuid(), gid: getegid(), groups: Array(groups.prefix(max(0, Int(count)))))
    }

    /// Tries what `run` needs, on this thread; the groups are set to what they are.
    private static func probe(_ server: Credentials) -> Bool {
        defer {
            _ = linux_setfsuid(server.uid)
            _ = linux_setfsgid(server.gid)
        }
        _ = linux_setfsgid(Credentials.anonymousID)
        _ = linux_setfsuid(Credentials.anonymousID)
        return linux_setfsgid(.max) == Credentials.anonymousID && linux_setfsuid(.max) == Credentials.anonymousID
            && setThreadGroups(server.groups)
    }
}
