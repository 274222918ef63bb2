import BlockStorage
import Foundation
import Glibc
import NIOCore
import TestTools
import Testing
import Tiering

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
            let verifier = "user.introspect.verifier (8) = ef cd ab 89 67 45 23 01"
            #expect(try crash("/x", "stat").contains(verifier))
        }
    }

    /// Another name, or a CREATE that finds the file, is durable without what clients have yet to COMMIT: that may be
    /// gigabytes, and calls on names wait behind one another.
    @Test func callsOnNamesDoNotWaitForUnstableWrites() throws {
        try withFileSystem(hasJournal: true) { export, path, crash in
            let datastore = try Datastore(exports: [.init(path: export)], state: "\(path)/state")
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let file = try datastore.create(root, "disk", .guarded(AttributeChanges(mode: 0o600)), as: .root).handle
            let start = ContinuousClock.now
            let bytes = ByteBuffer(repeating: 0xA7, count: 1 << 20)
            _ = try datastore.write(file, offset: 0, bytes: bytes, stability: .unstable, as: .root)
            _ = try datastore.create(root, "disk", .unchecked(AttributeChanges()), as: .root)
            _ = try datastore.link(file, root, "second", as: .root)
            let second = try crash("/second", "stat")
            #expect(second.contains("Links: 2"))
            // The kernel writes by itself what is older than half a minute.
            if .now - start < .seconds(20) { #expect(!second.contains("Size: 1048576\n")) }
            _ = try datastore.commit(file, offset: 0, count: 0, as: .root)
            #expect(try crash("/second", "stat").contains("Size: 1048576\n"))
        }
    }

    /// What is written often and stably does not wait for its time of change, which a power failure then sets back on the
    /// disk; no client sees that.
    @Test func noClientSeesATimeOfChangeGoBack() throws {
        try withFileSystem(hasJournal: true) { export, path, crash in
            let (file, seen) = try writeOften(export, state: "\(path)/state") {
                let onDisk = try #require(try crash("/disk", "stat").firstMatch(of: /mtime: 0x([0-9a-f]+)/)?.1)
                try runTool("cp", ["-r", "\(path)/state", "\(path)/state-then"])
                return try #require(Int64(onDisk, radix: 16))
            }
            let register = try String(contentsOfFile: "\(path)/state/late-times", encoding: .utf8)
            #expect(register.hasPrefix("introspect late-times 2 0\n"))
            try runTool("umount", [export])
            try runTool("mount", ["-o", "loop", "\(path)/copy", export])
            let next = try Datastore(exports: [.init(path: export)], state: "\(path)/state-then")
            defer { next.close() }
            let now = try next.getAttributes(file, as: .root).modificationTime
            #expect((now.seconds, now.nanoseconds) > (seen.seconds, seen.nanoseconds))
            #expect(next.lateTimes.entries.isEmpty)
        }
    }

    /// Where late times are all that is known of files, they need the key of the handles as much as redirected blocks do; the
    /// start after a crash sees to them, and the one after that finds nothing to do.
    @Test func lateTimesAloneNeedTheKeyAndAreRestoredOnce() throws {
        try withFileSystem(hasJournal: true) { export, path, _ in
            let then = "\(path)/state-then"
            let (file, _) = try writeOften(export, state: "\(path)/state") {
                try runTool("cp", ["-r", "\(path)/state", then])
                return 0
            }
            func modification(of file: HandleAlias, _ datastore: Datastore) throws -> Int64 {
                try datastore.getAttributes(file, as: .root).modificationTime.seconds
            }
            func setBack() throws { try runTool("touch", ["-m", "-d", "@1000000000", "\(export)/disk"]) }
            let key = "\(then)/handle-key"
            rename(key, "\(key).away")
            do throws(DatastoreError) {
                try Datastore(exports: [.init(path: export)], state: then).close()
                Issue.record("was started")
            } catch {
                #expect(error.message.contains("\(key) is missing"))
            }
            #expect(access(key, F_OK) != 0)
            rename("\(key).away", key)
            try setBack()
            let again = "\(path)/state-again"
            try {
                let next = try Datastore(exports: [.init(path: export)], state: then)
                defer { next.close() }
                #expect(try modification(of: file, next) > 1_000_000_000)
                #expect(next.lateTimes.entries.isEmpty)
                // This one does not end cleanly, either.
                try runTool("cp", ["-r", then, again])
            }()
            try setBack()
            let last = try Datastore(exports: [.init(path: export)], state: again)
            defer { last.close() }
            #expect(try modification(of: file, last) == 1_000_000_000)
        }
    }

    /// Files that are gone, or that nobody has used for a while, make room in the register for others; the times of the latter
    /// are on the disk then.
    @Test func timesAreNoLongerLateOfFilesThatAreClosedOrGone() throws {
        try withFileSystem(hasJournal: true) { export, path, crash in
            let datastore = try Datastore(exports: [.init(path: export)], state: "\(path)/state")
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
            let bytes = ByteBuffer(repeating: 0xA7, count: 4096)
            for name in ["gone", "disk"] as [FileName] {
                let file = try datastore.create(root, name, mode, as: .root).handle
                for number in 0..<100 as Range<UInt64> {
                    _ = try datastore.write(file, offset: number * 4096, bytes: bytes, stability: .fileSync, as: .root)
                }
            }
            #expect(datastore.lateTimes.count == 2)
            _ = try datastore.remove(root, "gone", as: .root)
            for _ in 0..<400 where datastore.lateTimes.count > 1 { usleep(25_000) }
            let file = try datastore.lookup(root, "disk", as: .root).handle
            let identity = try #require(ImageIdentity(file))
            #expect(Array(datastore.lateTimes.entries.keys) == [identity])
            sleep(2)
            _ = try datastore.write(file, offset: 0, bytes: bytes, stability: .fileSync, as: .root)
            let seen = try datastore.getAttributes(file, as: .root).modificationTime
            datastore.files.mostFiles.store(1, ordering: .relaxed)
            // Who goes through the open files has them for a moment.
            for _ in 0..<400 where !datastore.lateTimes.entries.isEmpty {
                datastore.files.makeRoom()
                usleep(25_000)
            }
            #expect(datastore.lateTimes.entries.isEmpty)
            let onDisk = try #require(try crash("/disk", "stat").firstMatch(of: /mtime: 0x([0-9a-f]+)/)?.1)
            #expect(Int64(onDisk, radix: 16) == seen.seconds)
        }
    }

    /// A time that a client has set, and been answered for, is not replaced by that of the start after a power failure.
    @Test func aTimeThatWasSetOutlivesAPowerFailure() throws {
        try withFileSystem(hasJournal: true) { export, path, _ in
            let time = FileTime(seconds: 1_000_000_000, nanoseconds: 5)
            let file = try setTime(time, export, state: "\(path)/state") {
                try runTool("cp", ["--sparse=always", "\(path)/image", "\(path)/copy"])
                try runTool("cp", ["-r", "\(path)/state", "\(path)/state-then"])
            }
            try runTool("umount", [export])
            try runTool("mount", ["-o", "loop", "\(path)/copy", export])
            let next = try Datastore(exports: [.init(path: export)], state: "\(path)/state-then")
            defer { next.close() }
            #expect(try next.getAttributes(file, as: .root).modificationTime == time)
        }
    }

    /// Sets the time of a file that is written often, lets `copy` see what a power failure would leave, and writes on.
    private func setTime(
        _ time: FileTime, _ export: String, state: String, _ copy: () throws -> Void
    ) throws -> HandleAlias {
        let datastore = try Datastore(exports: [.init(path: export)], state: state)
        defer { datastore.close() }
        let root = try datastore.mount(export, client: .loopback)
        let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
        let file = try datastore.create(root, "disk", mode, as: .root).handle
        let bytes = ByteBuffer(repeating: 0xA7, count: 4096)
        let write = {
            for number in 0..<UInt64(100) {
                _ = try datastore.write(file, offset: number * 4096, bytes: bytes, stability: .fileSync, as: .root)
            }
        }
        try write()
        #expect(!datastore.lateTimes.entries.isEmpty, "the case that is tested did not come up")
        let changes = AttributeChanges(modificationTime: .at(time))
        _ = try datastore.setAttributes(file, changes, guard: nil, as: .root)
        #expect(datastore.lateTimes.entries.isEmpty)
        try copy()
        // What is written after that makes it late again, and later.
        try write()
        #expect(!datastore.lateTimes.entries.isEmpty)
        return file
    }

    /// Writes to a new file, its whole length and, two seconds later, a part again; returns its handle and the time of
    /// change that clients then see, which is later than the one that `timeOnDisk` finds.
    private func writeOften(
        _ export: String, state: String, timeOnDisk: () throws -> Int64
    ) throws -> (HandleAlias, FileTime) {
        let datastore = try Datastore(exports: [.init(path: export)], state: state)
        defer { datastore.close() }
        let root = try datastore.mount(export, client: .loopback)
        let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
        let file = try datastore.create(root, "disk", mode, as: .root).handle
        let bytes = ByteBuffer(repeating: 0xA7, count: 4096)
        for number in 0..<100 {
            _ = try datastore.write(file, offset: UInt64(number) * 4096, bytes: bytes, stability: .fileSync, as: .root)
        }
        sleep(2)
        _ = try datastore.write(file, offset: 0, bytes: bytes, stability: .fileSync, as: .root)
        let seen = try datastore.getAttributes(file, as: .root).modificationTime
        #expect(try timeOnDisk() < seen.seconds, "the case that is tested did not come up")
        return (file, seen)
    }

    /// Unstable writes rest in memory; what could not be written from there changes the verifier, and so every client
    /// that has unstable writes sends them again. These are then on the disk, which takes some care: ext4 forgets to
    /// note that an extent is written when it writes pages again that it failed to write before.
    @Test(arguments: [true, false])
    func aFailedWritebackIsToldToClients(hasJournal: Bool) throws {
        try withTemporaryDirectory { path in
            let (small, export) = ("\(path)/small", "\(path)/export")
            for directory in [small, export] { mkdir(directory, 0o755) }
            try runTool("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", small])
            defer { _ = try? runTool("umount", ["--lazy", small]) }
            try makeSparseFile("\(small)/image", size: 64 << 20)
            let feature = hasJournal ? "has_journal" : "^has_journal"
            let now = "lazy_itable_init=0,lazy_journal_init=0"
            try runTool("mkfs.ext4", ["-q", "-O", feature, "-E", now, "\(small)/image"])
            try runTool("mount", ["-o", "loop", "\(small)/image", export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            try writeTwice(export, state: "\(path)/state", filler: "\(small)/rest")
            try runTool("umount", [export])
            let data = try runTool("debugfs", ["-R", "cat /disk", "\(small)/image"])
            #expect(data.utf8.count == 1 << 20 && data.utf8.allSatisfy { $0 == UInt8(ascii: "a") })
        }
    }

    /// Writes a mebibyte while the disk has no room for it, which takes as much of `filler` as there is, and again.
    private func writeTwice(_ export: String, state: String, filler: String) throws {
        let datastore = try Datastore(exports: [.init(path: export)], state: state)
        defer { datastore.close() }
        let root = try datastore.mount(export, client: .loopback)
        let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
        let file = try datastore.create(root, "disk", mode, as: .root).handle
        let bytes = ByteBuffer(repeating: UInt8(ascii: "a"), count: 1 << 20)
        _ = try? runTool("dd", ["if=/dev/zero", "of=\(filler)", "bs=64k", "status=none"])
        let written = try datastore.write(file, offset: 0, bytes: bytes, stability: .unstable, as: .root)
        #expect(written.committed == .unstable && written.verifier == datastore.writeVerifier)
        #expect(failure { try datastore.commit(file, offset: 0, count: 0, as: .root) } == .noSpace)
        #expect(written.verifier != datastore.writeVerifier)
        unlink(filler)
        let again = try datastore.write(file, offset: 0, bytes: bytes, stability: .unstable, as: .root)
        let committed = try datastore.commit(file, offset: 0, count: 0, as: .root)
        #expect(committed.verifier == again.verifier && again.verifier != written.verifier)
    }

    /// What COMMIT answers for is on the disk, whoever commits beside: of the whole file or of a range, before and after
    /// the time of change may be late.
    @Test func whatIsCommittedIsOnTheDisk() throws {
        try withBlocksInPlace { datastore, file, blockOnDisk in
            let threads = 8
            concurrently(threads: threads) { thread in
                do {
                    for number in 1...400 {
                        let block = thread + threads * (number % (Self.blocks / threads))
                        let written = UInt64(thread << 32 | number)
                        try commit(written, block: block, of: file, datastore, isWhole: number.isMultiple(of: 3))
                        #expect(blockOnDisk(block) == written, "block \(block)")
                    }
                } catch {
                    Issue.record(error)
                }
            }
            #expect(!datastore.lateTimes.entries.isEmpty)
        }
    }

    /// A write that is under way when the server forgets the file ends when others have committed theirs to the file
    /// opened anew, whose next COMMIT has nothing to flush.
    @Test func aWriteToAFileThatWasForgottenIsOnTheDisk() throws {
        try withBlocksInPlace { datastore, file, blockOnDisk in
            let before = try datastore.openFile(file)
            datastore.files.forget(before.identity)
            // So often that the time of change may be late.
            for number in 0..<100 { try commit(UInt64(number), block: 2, of: file, datastore, isWhole: true) }
            #expect(try datastore.openFile(file) !== before)
            let bytes = [UInt64(8).bigEndian]
            let ticket = before.ranges.beginWrite(ByteRange(offset: 3 * 4096, length: 4096))
            _ = try bytes.withUnsafeBytes { try before.write($0, at: 3 * 4096, stability: .unstable, under: ticket) }
            before.ranges.endWrite(ticket)
            _ = try datastore.commit(file, offset: 0, count: 0, as: .root)
            #expect(blockOnDisk(3) == 8)
        }
    }

    private static let blocks = 64

    /// Calls `body` with a file of blocks that have their places, and what looks at the first number of one there.
    private func withBlocksInPlace(
        _ body: (Datastore, HandleAlias, @escaping @Sendable (Int) -> UInt64?) throws -> Void
    ) throws {
        try withFileSystem(hasJournal: true) { export, path, _ in
            let datastore = try Datastore(exports: [.init(path: export)], state: "\(path)/state")
            defer { datastore.close() }
            let root = try datastore.mount(export, client: .loopback)
            let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
            let file = try datastore.create(root, "disk", mode, as: .root).handle
            let zeros = ByteBuffer(repeating: 0, count: Self.blocks * 4096)
            _ = try datastore.write(file, offset: 0, bytes: zeros, stability: .fileSync, as: .root)
            let extents = try runTool("filefrag", ["-v", "-b1024", "\(export)/disk"])
            let start = try #require(extents.firstMatch(of: /0\.\. +255: +([0-9]+)\.\./)?.1, "\(extents)")
            let place = try #require(Int(start)) * 1024
            let disk = open("\(path)/image", O_RDONLY | O_CLOEXEC)
            defer { close(disk) }
            try body(datastore, file) { block in
                var found: UInt64 = 0
                return pread(disk, &found, 8, place + block * 4096) == 8 ? UInt64(bigEndian: found) : nil
            }
        }
    }

    private func commit(
        _ written: UInt64, block: Int, of file: HandleAlias, _ datastore: Datastore, isWhole: Bool
    ) throws {
        let (bytes, offset) = (ByteBuffer(integer: written), UInt64(block * 4096))
        _ = try datastore.write(file, offset: offset, bytes: bytes, stability: .unstable, as: .root)
        _ = try datastore.commit(file, offset: isWhole ? 0 : offset, count: isWhole ? 0 : 8, as: .root)
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
