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
}
