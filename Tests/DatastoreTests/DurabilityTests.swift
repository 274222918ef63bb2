import Foundation
import Glibc
import TestTools
import Testing

@testable import Datastore

/// What was acknowledged is on the disk: a file system whose disk is looked at while it is mounted, as a power failure
/// would leave it.
@Suite(.enabled(if: isRoot, "mounts file systems")) struct DurabilityTests {
    /// With a journal, that writes nothing by itself for an hour; without one, where each part must be synced.
    @Test(arguments: [true, false])
    func acknowledgedChangesSurvivePowerFailure(hasJournal: Bool) throws {
        try withFileSystem(hasJournal: hasJournal) { export, path, crash in
            let datastore = try Datastore(exports: [.init(path: export)], state: "\(path)/state")
            defer { datastore.close() }
            #expect(datastore.roots.values.allSatisfy { $0.hasOneJournal == hasJournal })
            let root = try datastore.mount(export, client: .loopback)
            let none = AttributeChanges()
            let directory = try datastore.makeDirectory(root, "d", none, as: .root).handle
            #expect(try names(crash, "/").contains("d"))
            let file = try datastore.create(directory, "a", .guarded(AttributeChanges(mode: 0o640)), as: .root).handle
            #expect(try names(crash, "/d").contains("a"))
            #expect(try crash("/d/a", "stat").contains("Mode:  0640"))
            _ = try datastore.setAttributes(file, AttributeChanges(mode: 0o751), guard: nil, as: .root)
            #expect(try crash("/d/a", "stat").contains("Mode:  0751"))
            _ = try datastore.setAttributes(file, AttributeChanges(size: 12345), guard: nil, as: .root)
            #expect(try crash("/d/a", "stat").contains("Size: 12345"))
            let link = try datastore.makeSymbolicLink(directory, "l", target: [0x78], none, as: .root).handle
            #expect(try crash("/d/l", "stat").contains("Type: symlink"))
            _ = try datastore.setAttributes(link, AttributeChanges(uid: 77), guard: nil, as: .root)
            #expect(try crash("/d/l", "stat").contains("User:    77"))
            _ = try datastore.makeNode(directory, "f", .fifo, none, as: .root)
            #expect(try crash("/d/f", "stat").contains("Type: FIFO"))
            _ = try datastore.link(file, root, "second", as: .root)
            #expect(try crash("/second", "stat").contains("Links: 2"))
            _ = try datastore.rename(directory, "a", to: root, "moved", as: .root)
            #expect(try names(crash, "/").contains("moved"))
            #expect(try !names(crash, "/d").contains("a"))
            _ = try datastore.remove(directory, "f", as: .root)
            #expect(try !names(crash, "/d").contains("f"))
            _ = try datastore.create(root, "x", .exclusive(verifier: 0x0123_4567_89ab_cdef), as: .root)
            #expect(try crash("/x", "stat").contains("mtime: 0x89abcdef"))
        }
    }

    /// The names in a directory, as `ls -p` of debugfs prints them: the sixth of the parts between slashes.
    private func names(_ crash: (String, String) throws -> String, _ directory: String) throws -> [String] {
        try crash(directory, "ls -p").split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "/", omittingEmptySubsequences: false)
            return parts.count > 5 ? String(parts[5]) : nil
        }
    }

    /// Calls `body` with a mounted ext4, a directory for other things, and a function that looks at a path with debugfs
    /// after a power failure: names in a directory, or what `stat` prints.
    private func withFileSystem(
        hasJournal: Bool,
        _ body: (String, String, (_ path: String, _ command: String) throws -> String) throws -> Void
    ) throws {
        try withTemporaryDirectory { path in
            let (image, export) = ("\(path)/image", "\(path)/export")
            try makeSparseFile(image, size: 32 << 20)
            try runTool("mkfs.ext4", ["-q", "-O", hasJournal ? "has_journal" : "^has_journal", image])
            mkdir(export, 0o755)
            try runTool("mount", ["-o", hasJournal ? "loop,commit=3600" : "loop", image, export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            try body(export, path) { name, command in
                let copy = "\(path)/copy"
                try runTool("cp", ["--sparse=always", image, copy])
                if hasJournal { try runTool("e2fsck", ["-p", "-E", "journal_only", copy]) }
                return try runTool("debugfs", ["-R", "\(command) \(name)", copy])
            }
        }
    }
}
