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
    @Test(.enabled(if: isRoot, "acts as another user"), arguments: ["a/b", "a", ""])
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

    /// So it is for a user's own server, too, which could change nothing; that of one who could is another server.
    @Test(.enabled(if: isRoot, "acts as another user"))
    func aServerIsWhoHasAStateAndCouldChangeTheExport() throws {
        try withDirectories { path in
            mkdir("\(path)/own", 0o700)
            chown("\(path)/own", 1000, 1000)
            let holder = try DirectoryHolder("\(path)/a", user: 1000, stateLock: "\(path)/own/lock")
            #expect(refusal("\(path)/a", state: "\(path)/state") == nil)
            chown("\(path)/a", 1000, 1000)
            #expect(refusal("\(path)/a", state: "\(path)/state")?.contains("process \(holder.id) (") == true)
            // What root runs for somebody with what he had open.
            let program = try DirectoryHolder("\(path)/c", user: 0)
            defer { withExtendedLifetime(program) {} }
            #expect(refusal("\(path)/c", state: "\(path)/state") == nil)
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
