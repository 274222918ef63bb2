import BlockStorage
import Foundation
import Glibc
import NIOCore
import Synchronization
import Logging
import TestTools
import Testing
import Tiering

@testable import Datastore

/// Blocks that were acknowledged and that an error, an absence or a restart at the wrong moment might lose.
@Suite struct AcknowledgedBlocksTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    @Test func whatAnAdministratorLetGoDoesNotComeBackFromALogThatHadFailed() throws {
        try runTool("cp", [bed.path("other.img"), bed.path("third.img")])
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            for name in ["other.img", "third.img"] {
                let file = try bed.handle(name, datastore)
                #expect(try bed.inodeTable(datastore, file, name) + 8192 == offset)
                try bed.write(7, at: offset, file, datastore)
                #expect(utimes(bed.path(name), nil) == 0)
                #expect(failure { try bed.read(offset, file, datastore) } == .io)
            }
            bed.faults.writesFail.store(true, ordering: .relaxed)
            try bed.write(1, at: offset, handle, datastore)
            bed.faults.writesFail.store(false, ordering: .relaxed)
            #expect(datastore.tierStatus().state == .failed)
            try datastore.resolve(bed.path("other.img"), keepingLog: false)
            let other = try bed.handle("other.img", datastore)
            try bed.write(9, at: offset, other, datastore)
            try #expect(bed.readFile(offset, "other.img").first == 9)
        }
        try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
            try #expect(bed.read(offset, handle, datastore).first == 9, "acknowledged FILE_SYNC")
            try? datastore.drain(bed.path("other.img"))
        }
        try #expect(bed.readFile(offset, "other.img").first == 9, "the file")
    }

    @Test func imagesAreKnownByWhicheverExportTheyWereKnownBy() throws {
        let second = "\(bed.directory)/export2/b.img"
        try runTool("cp", [bed.path("disk.img"), second])
        var offset = 0
        try bed.serve(.writeback, exports: ["export2"], handleOf: "b.img") { datastore, handle in
            offset = try bed.inodeTable(datastore, handle, "b.img") + 8192
            try bed.write(7, at: offset, handle, datastore)
            #expect(datastore.tierStatus().liveBytes == 4096)
        }
        try bed.serve(.writeback, exports: ["export"]) { datastore, handle in
            try #expect(bed.redirect(datastore, handle) == offset)
            #expect(datastore.tierStatus().liveBytes == 8192)
        }
        try bed.serve(.writeback, exports: ["export", "export2"]) { datastore, handle in
            let other = try bed.handle("b.img", datastore, export: 1)
            let first = try? bed.read(offset, handle, datastore)
            let second = try? bed.read(offset, other, datastore)
            #expect(first == nil || first == RedirectBed.content, "disk.img: old bytes")
            #expect(second == nil || second?.first == 7, "b.img: old bytes")
            // Newer writes, then what the log has under the other name is moved over them.
            try bed.write(8, at: offset, handle, datastore)
            try bed.write(8, at: offset, other, datastore)
            try? datastore.drain()
            try? datastore.drain()
        }
        try #expect(bed.readFile(offset).first == 8, "disk.img: an older record came over a newer write")
        let file = try FileDevice(path: second, access: .readOnly, mode: .buffered)
        try #expect(file.read(ByteRange(offset: offset, length: 1)).first == 8, "b.img: the same")
    }

    @Test func aChangeAfterAStartIsFoundThoughNoClientHasOpenedTheImage() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        var backup: [UInt8] = []
        try bed.serve(.writeback) { datastore, handle in
            let other = try FileDevice(path: bed.path("other.img"), access: .readOnly, mode: .buffered)
            let disk = try FileDevice(path: bed.path("disk.img"), access: .readWrite, mode: .buffered)
            try disk.write(other.read(ByteRange(offset: 0, length: other.size)), at: 0)
            backup = try bed.readFile(offset)
            #expect(failure { try datastore.drain() } != nil, "README: such an image is refused")
        }
        try #expect(bed.readFile(offset) == backup, "the log was laid over what another program wrote")
    }

    @Test(.enabled(if: isRoot, "mounts a file system"))
    func aStableWriteIsThereAlsoWhenTheFileWasMadeLongerByUnstableOnes() throws {
        try bed.withFileSystem { _ in
            let (half, whole) = (16 << 20, 32 << 20)
            let tail = try FileDevice(path: bed.path("disk.img"), access: .readOnly, mode: .buffered)
                .read(ByteRange(offset: half, length: whole - half))
            #expect(truncate(bed.path("disk.img"), half) == 0)
            try runTool("sync", ["--file-system", bed.path("disk.img")])
            var offset = 0
            try bed.serve(.writeback) { datastore, handle in
                for start in stride(from: 0, to: tail.count, by: 1 << 20) {
                    _ = try datastore.write(
                        handle, offset: UInt64(half + start), bytes: ByteBuffer(bytes: tail[start..<start + 1 << 20]),
                        stability: .unstable, as: .root)
                }
                // Until the longer image is known.
                for _ in 0..<200 {
                    usleep(50_000)
                    var place: Int?
                    datastore.forEachClassMap { path, runs in
                        guard path.hasSuffix("disk.img") else { return }
                        place =
                            runs.first { $0.1 == .inodeTable && $0.0.offset > 24 << 20 && $0.0.length >= 16384 }?
                            .0.aligned(to: 4096).offset
                    }
                    if let place { offset = place + 4096 }
                    if offset > 0, datastore.files.file(for: handle)?.isCached == true { break }
                }
                try #require(offset > 0)
                try bed.write(9, at: offset, handle, datastore)
                try #require(datastore.tierStatus().liveBytes == 4096)
                // What a power failure leaves now.
                for name in ["image", "state", "ssd"] {
                    try runTool(
                        "cp", ["-a", "--sparse=always", "\(bed.directory)/\(name)", "\(bed.directory)/\(name)-left"])
                }
            }
            // The last descriptors are closed in the background.
            try #require(
                (0..<200).contains { _ in
                    if (try? runTool("umount", ["\(bed.directory)/export"])) != nil { return true }
                    usleep(25_000)
                    return false
                })
            for name in ["image", "state"] {
                try runTool("rm", ["-rf", "\(bed.directory)/\(name)"])
                try runTool("mv", ["\(bed.directory)/\(name)-left", "\(bed.directory)/\(name)"])
            }
            // The same file: another would have to be adopted.
            try runTool("cp", ["\(bed.directory)/ssd-left/redirect.log", "\(bed.directory)/ssd/redirect.log"])
            try runTool("mount", ["-o", "loop", "\(bed.directory)/image", "\(bed.directory)/export"])
            try bed.serve(.writeback) { datastore, handle in
                let size = try datastore.getAttributes(handle, as: .root).size
                #expect(size >= UInt64(offset + 4096), "\(size)")
                try #expect(bed.read(offset, handle, datastore).first == 9, "acknowledged FILE_SYNC")
            }
        }
    }

    @Test func aMirrorWithDamageOnBothSidesIsRefusedRatherThanRolledBack() throws {
        let sides = ["ssd", "ssd2"]
        var offset = 0
        try bed.serve(.writeback, ssd: sides, isMirrored: true) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            try bed.write(0x5B, at: offset + 4096, handle, datastore)
        }
        func device(_ name: String) throws -> FileDevice {
            try FileDevice(path: "\(bed.directory)/\(name)/redirect.log", access: .readWrite, mode: .buffered)
        }
        let one = try device("ssd")
        let bytes = Data(try one.read(ByteRange(offset: 0, length: one.size)))
        let first = try #require(bytes.range(of: Data(RedirectBed.content))).lowerBound
        let second = try #require(bytes.range(of: Data(repeating: 0x5B, count: 4096))).upperBound
        try one.write([0x58], at: first)
        try one.flush()
        // The other side lost its end.
        let two = try device("ssd2")
        try two.write([UInt8](repeating: 0, count: second - (first - 128)), at: first - 128)
        try two.flush()
        try bed.serve(.writeback, ssd: sides, isMirrored: true) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io, "acknowledged, and not there")
            #expect(
                failure { try bed.read(offset + 4096, handle, datastore) } == .io, "acknowledged, and whole on one side"
            )
        }
    }

    @Test func aDatastoreThatIsGoneIsNoProofThatImagesAre() throws {
        var tier: RedirectTier?
        try {
            var configuration = DatastoreConfiguration(
                exports: [.init(path: "\(bed.directory)/export")], stateDirectory: "\(bed.directory)/state")
            configuration.cacheSize = 1 << 20
            configuration.tier = .init(directories: ["\(bed.directory)/ssd"], mode: .writeback, size: 64 << 20)
            let datastore = try Datastore(configuration: configuration, logger: .init(label: "test"))
            _ = try bed.redirect(datastore, try bed.handle("disk.img", datastore))
            tier = datastore.tier
        }()
        usleep(6_000_000)
        #expect(tier?.attachment?.log.liveByteCount == 4096)
        tier?.stop()
    }

    @Test(.enabled(if: isRoot, "mounts a file system"))
    func whatCreateHasSetIsDurableWithTheFile() throws {
        let image = "\(bed.directory)/xfs"
        try makeSparseFile(image, size: 320 << 20)
        try runTool("mkfs.xfs", ["-q", image])
        try runTool("mount", ["-o", "loop", image, "\(bed.directory)/export"])
        defer { _ = try? runTool("umount", ["--lazy", "\(bed.directory)/export"]) }
        try runTool("mke2fs", ["-q", "-t", "ext3", "-F", bed.path("disk.img"), "8192k"])
        try bed.serve(nil) { datastore, handle in
            let root = try bed.root(datastore)
            let other = open(bed.path("scratch"), O_RDWR | O_CREAT, 0o600)
            defer { close(other) }
            let (copy, place) = ("\(bed.directory)/snapshot", "\(bed.directory)/place")
            mkdir(place, 0o700)
            var found: [String] = []
            let rounds = 60
            for round in 0..<rounds {
                var byte = UInt8(truncatingIfNeeded: round)
                pwrite(other, &byte, 1, off_t(round * 4096))
                let isStarted = Atomic(false)
                let thread = Thread {
                    isStarted.store(true, ordering: .sequentiallyConsistent)
                    var now = timespec()
                    clock_gettime(CLOCK_MONOTONIC, &now)
                    let start = now.tv_sec * 1_000_000_000 + now.tv_nsec
                    let end = start + Int.random(in: 0..<120_000)
                    repeat { clock_gettime(CLOCK_MONOTONIC, &now) } while now.tv_sec * 1_000_000_000 + now.tv_nsec < end
                    fsync(other)
                }
                thread.start()
                while !isStarted.load(ordering: .sequentiallyConsistent) {}
                let name = "new-\(round)"
                _ = try datastore.create(
                    root, FileName(name), .guarded(AttributeChanges(mode: 0o644, uid: 1001, size: 12345)), as: .root)
                try runTool("cp", ["--sparse=always", image, copy])
                try runTool("mount", ["-o", "loop,nouuid", copy, place])
                var status = stat()
                let isThere = lstat("\(place)/\(name)", &status) == 0
                try runTool("umount", [place])
                if !isThere || status.st_size != 12345 || status.st_uid != 1001 {
                    found.append("\(round): there \(isThere), size \(status.st_size), user \(status.st_uid)")
                }
            }
            #expect(found.isEmpty, "\(found.count) of \(rounds): \(found.first ?? "")")
        }
    }

    @Test(.enabled(if: isRoot, "mounts a file system"))
    func aRefusedWriteIsNotReadInWritethrough() throws {
        try bed.withFileSystem { _ in
            var offset = 0
            var before: [UInt8] = []
            let classes = try #require(RedirectClasses(names: "metadata,data"))
            try bed.serve(.writethrough, classes: classes) { datastore, handle in
                offset = try bed.place(of: .free, length: 4 << 20, datastore, handle) + (2 << 20)
                _ = try? runTool("dd", ["if=/dev/zero", "of=\(bed.path("filler"))", "bs=64k"])
                _ = try? runTool("dd", ["if=/dev/zero", "of=\(bed.path("filler2"))", "bs=4k"])
                before = try bed.read(offset, handle, datastore)
                #expect(failure { try bed.write(9, at: offset, handle, datastore) } == .noSpace)
                try #expect(bed.read(offset, handle, datastore) == before, "refused with NOSPC")
            }
            try bed.serve(.writethrough, classes: classes) { datastore, handle in
                try #expect(bed.read(offset, handle, datastore) == before, "what was read before")
            }
        }
    }

    /// A write that comes while the register forgets the file, whose time a client has just set.
    @Test(.enabled(if: isRoot, "mounts file systems"))
    func theTimeOfAWriteBesideOneThatSetsItIsNotSetBack() throws {
        let (image, state) = ("\(bed.directory)/state-image", "\(bed.directory)/state")
        try makeSparseFile(image, size: 32 << 20)
        try runTool("mkfs.ext4", ["-q", image])
        mkdir(state, 0o700)
        try runTool("mount", ["-o", "loop", image, state])
        defer { _ = try? runTool("umount", ["--lazy", state]) }
        chmod(state, 0o700)
        let time = FileTime(seconds: 1_000_000_000, nanoseconds: 0)
        try bed.withFileSystem { _ in
            try bed.serve(nil) { datastore, handle in
                for number in 0..<100 { try bed.write(1, at: number * 4096, handle, datastore) }
                try #require(datastore.lateTimes.count == 1)
                // Whoever writes to the register waits from now on.
                try runTool("fsfreeze", ["--freeze", state])
                // Whoever closes the server writes there.
                defer { _ = try? runTool("fsfreeze", ["--unfreeze", state]) }
                let isDone = Locked(false)
                Thread {
                    let changes = AttributeChanges(modificationTime: .at(time))
                    _ = try? datastore.setAttributes(handle, changes, guard: nil, as: .root)
                    isDone.withLock { $0 = true }
                }.start()
                for _ in 0..<200
                where (try? datastore.getAttributes(handle, as: .root).modificationTime) != time { usleep(10_000) }
                usleep(500_000)
                let isWaiting = !isDone.withLock { $0 }
                try bed.write(2, at: 0, handle, datastore)
                let seen = try datastore.getAttributes(handle, as: .root).modificationTime
                try runTool("fsfreeze", ["--unfreeze", state])
                try #require(isWaiting && seen != time)
                for _ in 0..<400 where !isDone.withLock({ $0 }) { usleep(10_000) }
                // What a power failure leaves now.
                try runTool("cp", ["--sparse=always", "\(bed.directory)/image", "\(bed.directory)/left"])
                try runTool("cp", ["-a", state, "\(bed.directory)/state-left"])
            }
        }
        try runTool("mount", ["-o", "loop", "\(bed.directory)/left", "\(bed.directory)/export"])
        defer { _ = try? runTool("umount", ["--lazy", "\(bed.directory)/export"]) }
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(bed.directory)/export")], stateDirectory: "\(bed.directory)/state-left")
        configuration.cacheSize = 1 << 20
        let next = try Datastore(configuration: configuration, logger: .init(label: "test"))
        defer { next.close() }
        let found = try next.getAttributes(try bed.handle("disk.img", next), as: .root).modificationTime
        #expect(found != time, "a client has seen a later one")
    }
}
