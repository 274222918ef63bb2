import Foundation
import Glibc
import NIOCore
import Synchronization
import TestTools
import Testing

@testable import Datastore

/// Files are open for writing only while somebody writes.
@Suite(.serialized, .enabled(if: isRoot, "mounts file systems")) struct OpenForWritingTests {
    private let test: TestDatastore

    init() throws {
        test = try TestDatastore()
    }

    private func read(_ file: HandleAlias) throws -> ByteBuffer {
        var bytes = ByteBuffer()
        _ = try test.datastore.read(file, offset: 0, count: 4096, as: .root, into: &bytes)
        return bytes
    }

    private func write(_ file: HandleAlias) throws {
        _ = try test.datastore.write(
            file, offset: 0, bytes: ByteBuffer(repeating: 0x7F, count: 1), stability: .fileSync, as: .root)
    }

    @Test func aFileThatIsReadCanBeExecutedOnTheServer() throws {
        try runTool("cp", ["/bin/true", test.local("program")])
        let file = try test.lookup("program")
        _ = try read(file)
        func run() throws -> Bool {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: test.local("program"))
            guard (try? process.run()) != nil else { return false }
            process.waitUntilExit()
            return process.terminationStatus == 0
        }
        #expect(try run())
        try write(file)
        // Soon after the last write, too.
        for _ in 0..<300 where try !run() { usleep(50_000) }
        #expect(try run())
    }

    /// Whoever writes to it is told what the opening was answered, each time anew, and the next write after its end succeeds.
    @Test func aFileThatIsExecutedCanBeReadAndIsWrittenWhenThatEnds() throws {
        try runTool("cp", ["/bin/sleep", test.local("program")])
        let file = try test.lookup("program")
        _ = try read(file)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: test.local("program"))
        process.arguments = ["600"]
        try process.run()
        // It may have inherited that it takes no other signal.
        func end() { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
        defer { end() }
        for _ in 0..<2 {
            #expect(failure { try write(file) } == .access)
            #expect(try read(file).readableBytes == 4096)
        }
        end()
        process.waitUntilExit()
        try write(file)
        #expect(failure { try write(file) } == nil)
    }

    @Test func aFileThatIsReadKeepsNoFileSystemFromBecomingReadOnly() throws {
        try runTool("mount", ["-t", "tmpfs", "tmpfs", test.local("")])
        defer { _ = try? runTool("umount", ["--lazy", test.local("")]) }
        try test.makeLocalFile("file", "content")
        try test.restart()
        let root = try test.datastore.mount(test.local("."), client: .loopback)
        let file = try test.datastore.lookup(root, "file", as: .root).handle
        _ = try read(file)
        try runTool("mount", ["-o", "remount,ro", test.local("")])
        #expect(failure { try write(file) } == .readOnly)
        _ = try read(file)
        try runTool("mount", ["-o", "remount,rw", test.local("")])
        try write(file)
        #expect(try read(file).getInteger(at: 0) == UInt8(0x7F))
    }

    /// What the first opening was refused for need not be so for ever.
    @Test func aFileThatCouldNotBeWrittenOnceCanBeLater() throws {
        try test.makeLocalFile("file", "content")
        try runTool("chattr", ["+i", test.local("file")])
        defer { _ = try? runTool("chattr", ["-i", test.local("file")]) }
        let file = try test.lookup("file")
        _ = try read(file)
        #expect(failure { try write(file) } == .notOwner)
        try runTool("chattr", ["-i", test.local("file")])
        try write(file)
        try runTool("chattr", ["+i", test.local("file")])
        #expect(failure { try write(file) } == .notOwner)
        try runTool("chattr", ["-i", test.local("file")])
        try write(file)
    }

    /// A READ that another program's truncation overtakes ends where the file does.
    @Test func aReadDuringATruncationIsShort() throws {
        try test.makeLocalFile("file")
        let path = test.local("file")
        let file = try test.lookup("file")
        let isDone = Atomic(false)
        let cutter = Thread {
            while !isDone.load(ordering: .relaxed) {
                truncate(path, 4 << 20)
                truncate(path, 100)
            }
        }
        cutter.start()
        defer { isDone.store(true, ordering: .relaxed) }
        for number in 0..<400 {
            var bytes = ByteBuffer()
            let offset = number.isMultiple(of: 2) ? 0 : 1 << 20
            let result = try test.datastore.read(
                file, offset: UInt64(offset), count: 1 << 20, as: .root, into: &bytes)
            #expect(result.count == bytes.readableBytes)
            #expect(result.count == 1 << 20 || result.isEndOfFile)
        }
    }
}
