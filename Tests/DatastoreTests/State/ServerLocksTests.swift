import CLinux
import Foundation
import Glibc
import TestTools
import Testing

@testable import Datastore

/// No two servers have one directory, whichever way they come by it.
struct ServerLocksTests {
    private func open(_ export: String, state: String, isReadOnly: Bool = false) throws -> Datastore {
        try Datastore(exports: [.init(path: export, isReadOnly: isReadOnly)], state: state)
    }

    /// Why a server cannot start; nil when it can.
    private func refusal(_ export: String, state: String, isReadOnly: Bool = false) -> String? {
        do {
            try open(export, state: state, isReadOnly: isReadOnly).close()
            return nil
        } catch {
            return (error as? DatastoreError)?.message
        }
    }

    private func withDirectories(_ body: (String) throws -> Void) throws {
        try withTemporaryDirectory { path in
            for name in ["a", "a/b", "c"] { mkdir("\(path)/\(name)", 0o755) }
            try body(path)
        }
    }

    @Test func aStateDirectoryHasOneServer() throws {
        try withDirectories { path in
            let first = try open("\(path)/a", state: "\(path)/state")
            let message = try #require(refusal("\(path)/c", state: "\(path)/state"))
            #expect(message.contains("process \(getpid()), which serves \(path)/a"))
            first.close()
            #expect(refusal("\(path)/c", state: "\(path)/state") == nil)
        }
    }

    @Test(arguments: [("a", "a"), ("a", "a/b"), ("a/b", "a")])
    func anExportHasOneServer(first: String, second: String) throws {
        try withDirectories { path in
            let datastore = try open("\(path)/\(first)", state: "\(path)/state")
            let message = try #require(refusal("\(path)/\(second)", state: "\(path)/other"))
            #expect(message.contains("export \(path)/\(second)") && message.contains("two servers must not"))
            #expect(message.contains("process \(getpid()) ("), "\(message)")
            #expect(refusal("\(path)/\(second)", state: "\(path)/other", isReadOnly: first == second) != nil)
            #expect(refusal("\(path)/c", state: "\(path)/other") == nil)
            datastore.close()
            #expect(refusal("\(path)/\(second)", state: "\(path)/other") == nil)
        }
    }

    @Test func thatClientsChangeNothingIsNoReasonToRefuse() throws {
        try withDirectories { path in
            let datastore = try open("\(path)/a", state: "\(path)/state", isReadOnly: true)
            defer { datastore.close() }
            #expect(refusal("\(path)/a", state: "\(path)/other", isReadOnly: true) == nil)
            #expect(refusal("\(path)/a", state: "\(path)/other") != nil)
        }
    }

    /// A start that fails for another reason leaves nothing locked.
    @Test func aStartThatFailsLeavesNothingBehind() throws {
        try withDirectories { path in
            try open("\(path)/a", state: "\(path)/state").close()
            truncate("\(path)/state/handle-key", 5)
            #expect(refusal("\(path)/a", state: "\(path)/state")?.contains("5 bytes") == true)
            #expect(refusal("\(path)/a", state: "\(path)/other") == nil)
        }
    }

    /// Whoever may read a directory can lock it, and the one above; he is named, and servers still find each other.
    @Test(
        .enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"),
        arguments: ["a/b", "a", ""])
    func whoMayOnlyReadADirectoryKeepsNoServerFromIt(held: String) throws {
        try withDirectories { path in
            let holder = try DirectoryHolder("\(path)/\(held)", user: 1000)
            let lines = LogLines()
            let configuration = DatastoreConfiguration(
                exports: [.init(path: "\(path)/a/b")], stateDirectory: "\(path)/state")
            let datastore = try Datastore(configuration: configuration, logger: lines.logger)
            defer { datastore.close() }
            let warnings = lines.all.filter { $0.contains("going on") }
            #expect(warnings.count == 1 && warnings[0].contains("process \(holder.id) ("), "\(lines.all)")
            #expect(warnings.first?.contains("of user 1000") == true)
            for second in ["a", "a/b"] {
                let message = try #require(refusal("\(path)/\(second)", state: "\(path)/other"))
                #expect(message.contains("process \(getpid()) ("), "\(message)")
            }
        }
    }

    /// Whoever could take every image away is no stranger; who may only add files, or read, is one, whatever he runs.
    @Test(
        .enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"),
        arguments: [
            (0o755, 0, 0, false), (0o1777, 0, 0, false), (0o1775, 0, 1000, false),
            (0o777, 0, 0, true), (0o775, 0, 1000, true), (0o755, 1000, 0, true), (0o1777, 1000, 0, true),
        ] as [(mode_t, uid_t, gid_t, Bool)])
    func aServerIsWhoHasAStateAndCouldTakeImagesAway(mode: mode_t, owner: uid_t, group: gid_t, isServer: Bool) throws {
        try withDirectories { path in
            chown("\(path)/a", owner, group)
            chmod("\(path)/a", mode)
            let holder = try server(of: "\(path)/a", in: path)
            let message = refusal("\(path)/a", state: "\(path)/state")
            #expect((message != nil) == isServer, "\(message ?? "")")
            #expect(message?.contains("process \(holder.id) (") != false && message?.contains("stop") != false)
        }
    }

    /// A program of user 1000 that has all that a server has.
    private func server(
        of directory: String, in path: String, user: UInt32 = 1000, isLocked: Bool = true, rights: [String] = [],
        by command: [String] = [], end: String = ""
    ) throws -> DirectoryHolder {
        mkdir("\(path)/own", 0o700)
        chown("\(path)/own", user, user)
        return try DirectoryHolder(
            directory, user: user, stateLock: "\(path)/own/lock", isLocked: isLocked, rights: rights, by: command,
            end: end)
    }

    /// It serves all that is in it.
    @Test(.enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"))
    func theServerOfAnOwnersDirectoryAboveIsFound() throws {
        try withDirectories { path in
            chown("\(path)/a", 1000, 1000)
            let holder = try server(of: "\(path)/a", in: path)
            #expect(refusal("\(path)/a/b", state: "\(path)/state")?.contains("process \(holder.id) (") == true)
        }
    }

    @Test(.enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"))
    func anAccessControlListCounts() throws {
        try withDirectories { path in
            let rights: [(tag: UInt8, bits: UInt8, user: UInt32)] = [
                (0x01, 7, .max), (0x02, 7, 1000), (0x04, 5, .max), (0x10, 7, .max), (0x20, 5, .max),
            ]
            let list = rights.reduce([2, 0, 0, 0] as [UInt8]) { list, entry in
                list + [entry.tag, 0, entry.bits, 0] + withUnsafeBytes(of: entry.user.littleEndian, Array.init)
            }
            try #require(linux_setxattr("\(path)/a", "system.posix_acl_access", list, list.count) == 0)
            let holder = try server(of: "\(path)/a", in: path)
            #expect(refusal("\(path)/a", state: "\(path)/state")?.contains("process \(holder.id) (") == true)
        }
    }

    /// Root's power over files is a server's without root, too, but not what a user has in a namespace of his own.
    @Test(.enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"))
    func capabilitiesCount() throws {
        let rights = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
        try withDirectories { path in
            let holder = try server(of: "\(path)/a", in: path, rights: rights)
            #expect(refusal("\(path)/a", state: "\(path)/state")?.contains("process \(holder.id) (") == true)
        }
        try withDirectories { path in
            let holder = try server(of: "\(path)/a", in: path, by: ["unshare", "--user", "--map-root-user"])
            defer { withExtendedLifetime(holder) {} }
            #expect(refusal("\(path)/a", state: "\(path)/state") == nil)
        }
    }

    /// What is not as it should be is no proof that nobody serves.
    @Test(
        .enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"),
        arguments: ["unlocked", "mode", "owner", "removed"])
    func aServersLockNeedNotBeAsUsual(way: String) throws {
        try withDirectories { path in
            let holder = try server(of: "\(path)/a", in: path, user: 0, isLocked: way != "unlocked")
            switch way {
            case "mode": chmod("\(path)/own/lock", 0o644)
            case "owner": chown("\(path)/own/lock", 1000, 1000)
            case "removed": unlink("\(path)/own/lock")
            default: break
            }
            #expect(refusal("\(path)/a", state: "\(path)/state")?.contains("process \(holder.id) (") == true)
        }
    }

    /// What root runs for somebody with what he had open.
    @Test(.enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"))
    func aProgramThatRootRunsForSomebodyIsNoServer() throws {
        try withDirectories { path in
            let program = try DirectoryHolder("\(path)/c", user: 0)
            let setuid = try server(of: "\(path)/a", in: path, user: 0, end: "$< = 1000;")
            defer { withExtendedLifetime((program, setuid)) {} }
            #expect(refusal("\(path)/c", state: "\(path)/state") == nil)
            #expect(refusal("\(path)/a", state: "\(path)/state") == nil)
        }
    }

    /// A program that becomes root for somebody before it asks him for a password has what he has made standard input,
    /// output and error of it.
    @Test(.enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"))
    func standardStreamsAreNoServers() throws {
        try withDirectories { path in
            let lent = try server(
                of: "\(path)/a", in: path, user: 0,
                end: "use POSIX; dup2(fileno($directory), 0); close($directory); dup2(fileno($lock), 2); close($lock);")
            let half = try server(
                of: "\(path)/c", in: path, user: 0, isLocked: false,
                end: "use POSIX; dup2(fileno($directory), 0); close($directory);")
            defer { withExtendedLifetime((lent, half)) {} }
            #expect(refusal("\(path)/a", state: "\(path)/state") == nil)
            #expect(refusal("\(path)/c", state: "\(path)/state") == nil)
        }
    }

    /// Whoever could do no harm can have locks by the million, and keeps no server waiting by them.
    @Test(.enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"))
    func manyLocksOfSomebodyElseDelayNoStart() throws {
        try withDirectories { path in
            let many = """
                open(my $many, "+>", "$ARGV[0]/../own/locks") or die "open: $!";
                for my $i (0 .. 2999) {
                    fcntl($many, 37, pack("s s x4 q q l x4", F_RDLCK, 0, 2 * $i, 1, 0)) or die "F_OFD_SETLK: $!";
                }
                my @copies = map { open(my $copy, "<&", $many) or die "dup: $!"; $copy } 1 .. 900;
                """
            // Whoever has the mark is looked for in this one first.
            let busy = try server(of: "\(path)/c", in: path, end: many)
            let holder = try DirectoryHolder("\(path)/a", user: 1000)
            defer { withExtendedLifetime((busy, holder)) {} }
            let start = ContinuousClock.now
            #expect(refusal("\(path)/a", state: "\(path)/state") == nil)
            // A mark is looked at so long before that, and then for a second.
            #expect(ContinuousClock.now - start < .seconds(5))
        }
    }

    /// A server has its locks among what it has open.
    @Test(.enabled(if: MarkHolders.seesAllProcesses, "acts as other users, and must see all processes"))
    func aMarkThatNoProcessHasIsNoServers() throws {
        try withDirectories { path in
            let holder = try DirectoryHolder("\(path)/a", user: 1000, end: DirectoryHolder.hiding)
            defer { withExtendedLifetime(holder) {} }
            #expect(refusal("\(path)/a", state: "\(path)/state") == nil)
        }
    }

    /// Directories of two file systems have the same inode number more often than not.
    @Test(.enabled(if: isRoot, "mounts file systems"))
    func theServerThatIsNamedIsTheOneThatIsInTheWay() throws {
        try withDirectories { path in
            for name in ["a", "c"] { try runTool("mount", ["-t", "tmpfs", "tmpfs", "\(path)/\(name)"]) }
            defer { for name in ["a", "c"] { _ = try? runTool("umount", ["--lazy", "\(path)/\(name)"]) } }
            mkdir("\(path)/own", 0o700)
            let other = try DirectoryHolder("\(path)/a", user: 0, stateLock: "\(path)/own/lock")
            let datastore = try open("\(path)/c", state: "\(path)/state")
            defer { datastore.close() }
            #expect(refusal("\(path)/c", state: "\(path)/other")?.contains("process \(getpid()) (") == true)
            #expect(refusal("\(path)/a", state: "\(path)/other")?.contains("process \(other.id) (") == true)
        }
    }

    /// An overlay's directories have the numbers of those below it, and a device of its own.
    @Test(.enabled(if: isRoot, "mounts a file system"))
    func aServerOfAnOverlayIsNamed() throws {
        try withDirectories { path in
            try runTool("mount", ["-t", "tmpfs", "tmpfs", "\(path)/c"])
            defer { _ = try? runTool("umount", ["--lazy", "\(path)/c"]) }
            for name in ["lower", "upper", "work", "lower/sub"] { mkdir("\(path)/c/\(name)", 0o755) }
            let options = ["lowerdir=\(path)/c/lower", "upperdir=\(path)/c/upper", "workdir=\(path)/c/work"]
            try runTool("mount", ["-t", "overlay", "-o", options.joined(separator: ","), "overlay", "\(path)/a"])
            defer { _ = try? runTool("umount", ["--lazy", "\(path)/a"]) }
            let datastore = try open("\(path)/a/sub", state: "\(path)/state")
            defer { datastore.close() }
            for second in ["a/sub", "a"] {
                let message = try #require(refusal("\(path)/\(second)", state: "\(path)/other"))
                #expect(message.contains("process \(getpid()) ("), "\(message)")
            }
        }
    }
}
