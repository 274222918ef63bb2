import CLinux
import Glibc

/// With whose rights a process acts.
struct ProcessUser {
    /// Who has started it.
    let real: uid_t
    private let effective: uid_t
    private let group: gid_t
    private let groups: [gid_t]
    private let hasRootsPower: Bool

    init?(of place: String) {
        let text = String(decoding: ProcessFile.read("\(place)/status") ?? [], as: UTF8.self)
        func words(_ name: String) -> [Substring] {
            let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
            return line?.dropFirst(name.count).split { $0 == " " || $0 == "\t" } ?? []
        }
        // Real, effective, saved and file system's.
        let (users, ownGroups) = (words("Uid:").compactMap { uid_t($0) }, words("Gid:").compactMap { gid_t($0) })
        guard users.count == 4, ownGroups.count == 4 else { return nil }
        (real, effective, group) = (users[0], users[1], ownGroups[0])
        groups = words("Groups:").compactMap { gid_t($0) }
        let capabilities = Capabilities(effective: words("CapEff:").first.flatMap { UInt64($0, radix: 16) } ?? 0)
        // In a namespace of his own everybody has all of them.
        hasRootsPower =
            MarkHolders.link("\(place)/ns/user") == MarkHolders.link("/proc/self/ns/user")
            && [.changeOwner, .accessAll, .actAsOwner, .actAsAnybody].contains(where: capabilities.has)
    }

    /// Whether both the user that the process acts as and the one that has started it could remove what others have in a
    /// directory.
    func mayTakeNames(from directory: Int32, _ impersonation: Impersonation) -> Bool {
        var status = stat()
        guard !hasRootsPower || real != effective, fstat(directory, &status) == 0 else { return true }
        return [real, effective].allSatisfy { user in
            if [0, geteuid(), status.st_uid].contains(user) { return true }
            guard status.st_mode & S_ISVTX == 0 else { return false }
            let credentials = Credentials(uid: user, gid: group, groups: groups)
            let mayWrite = try? impersonation.run(as: credentials) { () throws(DatastoreError) in
                // What is read-only here need not be so elsewhere.
                linux_faccessat2(directory, "", W_OK | X_OK, linux_at_empty_path | AT_EACCESS) == 0 || errno == EROFS
            }
            return mayWrite ?? true
        }
    }
}
