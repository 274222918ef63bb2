import Foundation
import TestTools
import Testing

@testable import Datastore

/// A directory that is mounted a second time is the same directory, and lies in the same ones.
@Suite(.enabled(if: isRoot, "mounts directories")) struct BindMountTests {
    /// Why a server cannot start; nil when it can.
    private func refusal(_ exports: [String], state: String, _ lines: LogLines = LogLines()) -> String? {
        do {
            let configuration = DatastoreConfiguration(exports: exports.map { .init(path: $0) }, stateDirectory: state)
            try Datastore(configuration: configuration, logger: lines.logger).close()
            return nil
        } catch {
            return error.message
        }
    }

    /// Calls `body` with a directory in which `m` is a file system and `bind` shows its `x y/sub`.
    private func withBindMount(_ body: (String) throws -> Void) throws {
        try withTemporaryDirectory { path in
            for name in ["m", "bind"] { mkdir("\(path)/\(name)", 0o755) }
            try runTool("mount", ["-t", "tmpfs", "tmpfs", "\(path)/m"])
            defer { _ = try? runTool("umount", ["--lazy", "\(path)/m"]) }
            for name in ["x y", "x y/sub", "x y/sub/in", "z"] { mkdir("\(path)/m/\(name)", 0o755) }
            try runTool("mount", ["--bind", "\(path)/m/x y/sub", "\(path)/bind"])
            defer { _ = try? runTool("umount", ["--lazy", "\(path)/bind"]) }
            try body(path)
        }
    }

    @Test(arguments: [
        ("m/x y", "bind"), ("bind", "m/x y"), ("m/x y", "bind/in"), ("bind/in", "m/x y"), ("m", "bind"), ("bind", "m"),
        ("m/x y/sub", "bind/in"), ("m/x y/sub/in", "bind"), ("m/x y/sub", "bind"),
    ])
    func aBindMountOfWhatAnotherServesIsRefused(first: String, second: String) throws {
        try withBindMount { path in
            let datastore = try Datastore(exports: [.init(path: "\(path)/\(first)")], state: "\(path)/state")
            let message = try #require(refusal(["\(path)/\(second)"], state: "\(path)/other"))
            #expect(message.contains("process \(getpid()) (") && message.contains("two servers must not"), "\(message)")
            #expect(refusal(["\(path)/m/z"], state: "\(path)/other") == nil || first == "m")
            datastore.close()
            #expect(refusal(["\(path)/\(second)"], state: "\(path)/other") == nil)
        }
    }

    @Test func oneServerDoesNotServeADirectoryTwice() throws {
        try withBindMount { path in
            #expect(refusal(["\(path)/m/x y", "\(path)/bind"], state: "\(path)/state") != nil)
            #expect(refusal(["\(path)/m/z", "\(path)/bind"], state: "\(path)/state") == nil)
        }
    }

    /// It says so where the directories above what is mounted cannot be reached, and only there.
    @Test func aBindMountAloneIsServedWithANotice() throws {
        try withBindMount { path in
            let lines = LogLines()
            #expect(refusal(["\(path)/bind"], state: "\(path)/state", lines) == nil)
            #expect(!lines.contains("only a part"), "\(lines.all)")
            try runTool("umount", ["\(path)/m"])
            #expect(refusal(["\(path)/bind"], state: "\(path)/state", lines) == nil)
            #expect(
                lines.contains("export \(path)/bind: only a part of its file system is mounted here"), "\(lines.all)")
        }
    }
}
