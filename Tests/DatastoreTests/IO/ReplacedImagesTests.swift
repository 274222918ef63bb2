import BlockStorage
import Foundation
import Glibc
import Synchronization
import TestTools
import Testing
import Tiering

@testable import Datastore

/// Another file stands where an image stood whose newest blocks are in the log.
@Suite(.serialized)
struct ReplacedImagesTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    /// As when a backup is put in the place of an image while no server runs.
    private func replace(_ name: String = "disk.img") throws {
        try runTool("cp", ["-p", bed.path(name), bed.path("\(name).new")])
        try #require(rename(bed.path("\(name).new"), bed.path(name)) == 0)
    }

    private func expectRefusal(_ handle: HandleAlias, at offset: Int, _ datastore: Datastore) {
        #expect(failure { try bed.read(offset, handle, datastore) } == .io)
        #expect(failure { try bed.write(1, at: offset, handle, datastore) } == .io)
        #expect(failure { try datastore.commit(handle, offset: 0, count: 0, as: .root) } == .io)
        for changes in [AttributeChanges(size: 4096), AttributeChanges(modificationTime: .now)] {
            #expect(failure { try datastore.setAttributes(handle, changes, guard: nil, as: .root) } == .io)
        }
        let status = datastore.tierStatus()
        #expect(status.liveBytes == 4096 && status.images.map(\.isOrphaned) == [true])
        #expect(status.images.map(\.isRefused) == [true])
        #expect(status.images.first?.reason?.contains("another file") == true)
    }

    /// The blocks that were acknowledged are not in it, and nobody would ever know.
    @Test func aFileInThePlaceOfAnImageIsRefusedUntilItIsToCount() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try replace()
        for mode in [DatastoreConfiguration.TierMode.writeback, .off, nil] {
            try bed.serve(mode) { datastore, handle in
                guard mode != nil else {
                    #expect(failure { try bed.read(offset, handle, datastore) } == .io)
                    return
                }
                expectRefusal(handle, at: offset, datastore)
                #expect(bed.log.contains("\(bed.path("disk.img")): refused"))
                let other = try bed.handle("other.img", datastore)
                try bed.write(7, at: 0x40_0000, other, datastore)
            }
        }
        let before = try bed.readFile(offset)
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try datastore.resolve(bed.path("disk.img"), keepingLog: true) } == .invalidArgument)
            expectRefusal(handle, at: offset, datastore)
            let verifier = datastore.writeVerifier
            try datastore.resolve(bed.path("disk.img"), keepingLog: false)
            #expect(datastore.writeVerifier != verifier)
            try #expect(bed.read(offset, handle, datastore) == before)
            #expect(datastore.tierStatus().liveBytes == 0 && datastore.tierStatus().images.isEmpty)
            try #expect(bed.redirect(datastore, handle) == offset)
        }
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// The image is gone when the server starts, and there is nothing in its place yet.
    @Test(arguments: ["disk.img", String(repeating: "d", count: 200) + "/" + String(repeating: "i", count: 200)])
    func aFileThatIsPutInThePlaceWhileTheServerRunsIsRefused(path: String) throws {
        let (names, backup) = (path.split(separator: "/").map(String.init), "\(bed.directory)/backup")
        if names.count > 1 {
            try #require(mkdir(bed.path(names[0]), 0o755) == 0)
            try #require(rename(bed.path("disk.img"), bed.path(path)) == 0)
        }
        func handle(_ datastore: Datastore) throws -> HandleAlias {
            try names.reduce(try bed.root(datastore)) { try datastore.lookup($0, FileName($1), as: .root).handle }
        }
        var offset = 0
        try bed.serve(.writeback, handleOf: "other.img") { datastore, _ in
            let handle = try handle(datastore)
            offset = try bed.place(of: .inodeTable, length: 16384, datastore, handle, names.last ?? "") + 8192
            try bed.write(RedirectBed.content[0], at: offset, handle, datastore)
        }
        try runTool("mv", [bed.path(path), backup])
        try runTool("cp", [backup, "\(backup)2"])
        unlink(backup)
        try bed.serve(.writeback, handleOf: "other.img") { datastore, other in
            _ = try bed.read(0, other, datastore)
            // One that comes and goes leaves nothing behind.
            for _ in 0..<3 {
                try runTool("cp", ["\(backup)2", bed.path(path)])
                try expectRefusal(handle(datastore), at: offset, datastore)
                #expect(datastore.tier.replacements.withLock { $0.files.count } == 1)
                unlink(bed.path(path))
            }
            try runTool("cp", ["-p", "\(backup)2", bed.path(path)])
            let handle = try handle(datastore)
            expectRefusal(handle, at: offset, datastore)
            #expect(bed.log.contains("\(bed.path(path)): refused, it is another file"))
            try datastore.resolve(bed.path(path), keepingLog: false)
            _ = try bed.read(offset, handle, datastore)
            #expect(datastore.tier.replacements.withLock { $0.files.isEmpty && $0.orphans.isEmpty })
        }
    }

    /// It is open by another name, and would never be looked at as it is opened.
    @Test(arguments: ["disk.img", "directory/disk.img"])
    func aFileThatAClientMovesIntoThePlaceIsRefused(path: String) throws {
        let isInDirectory = path != "disk.img"
        if isInDirectory {
            try #require(mkdir(bed.path("directory"), 0o755) == 0)
            try #require(rename(bed.path("disk.img"), bed.path(path)) == 0)
        }
        var offset = 0
        try bed.serve(.writeback, handleOf: "other.img") { datastore, _ in
            let root = try bed.root(datastore)
            let directory = isInDirectory ? try datastore.lookup(root, "directory", as: .root).handle : root
            offset = try bed.redirect(datastore, datastore.lookup(directory, "disk.img", as: .root).handle)
        }
        try #require(unlink(bed.path(path)) == 0)
        if isInDirectory {
            try #require(rmdir(bed.path("directory")) == 0 && mkdir(bed.path("elsewhere"), 0o755) == 0)
            try #require(rename(bed.path("other.img"), bed.path("elsewhere/disk.img")) == 0)
        }
        try bed.serve(.writeback, handleOf: isInDirectory ? "elsewhere" : "other.img") { datastore, handle in
            let root = try bed.root(datastore)
            let file = isInDirectory ? try datastore.lookup(handle, "disk.img", as: .root).handle : handle
            _ = try bed.read(offset, file, datastore)
            if isInDirectory {
                _ = try datastore.rename(root, "elsewhere", to: root, "directory", as: .root)
            } else {
                _ = try datastore.rename(root, "other.img", to: root, "disk.img", as: .root)
            }
            expectRefusal(file, at: offset, datastore)
        }
    }

    /// The kernel forgets names while the file system is not mounted: a file that is opened by its handle has no path then.
    private func remount() throws {
        try runTool("umount", [bed.path("")])
        try runTool("mount", ["-o", "loop", "\(bed.directory)/image", bed.path("")])
    }

    /// Waits until somebody has found that the file must not be served.
    private func waitForRefusal(_ handle: HandleAlias, at offset: Int, _ datastore: Datastore) {
        for _ in 0..<6000 where failure({ try bed.read(offset, handle, datastore) }) == nil { usleep(10_000) }
    }

    @Test(arguments: [false, true], [false, true])
    func aFileWithoutAPathThatIsMovedIntoThePlaceIsRefused(byClient: Bool, isOpen: Bool) throws {
        try bed.withFileSystem { _ in
            var offset = 0
            var other: HandleAlias?
            try bed.serve(.writeback) { datastore, handle in
                offset = try bed.redirect(datastore, handle)
                other = try bed.handle("other.img", datastore)
            }
            try #require(unlink(bed.path("disk.img")) == 0 && mkdir(bed.path("d"), 0o755) == 0)
            try remount()
            try bed.serve(.writeback, handleOf: "d") { datastore, _ in
                let handle = try #require(other)
                if isOpen { _ = try bed.read(offset, handle, datastore) }
                if byClient {
                    let root = try bed.root(datastore)
                    _ = try datastore.rename(root, "other.img", to: root, "disk.img", as: .root)
                } else {
                    try #require(rename(bed.path("other.img"), bed.path("disk.img")) == 0)
                    if isOpen { waitForRefusal(handle, at: offset, datastore) }
                }
                expectRefusal(handle, at: offset, datastore)
            }
        }
    }

    /// Any client can rename a directory, whatever else is open.
    @Test func anImageWithoutAPathKeepsItsPlaceOnRecord() throws {
        try bed.withFileSystem { _ in
            var offset = 0
            var image: HandleAlias?
            try bed.serve(.writeback) { datastore, handle in
                offset = try bed.redirect(datastore, handle)
                image = handle
            }
            try #require(mkdir(bed.path("d"), 0o755) == 0)
            try remount()
            try bed.serve(.writeback, modes: [("disk.img", .writethrough)], handleOf: "d") { datastore, _ in
                let (root, handle) = try (bed.root(datastore), #require(image))
                _ = try bed.inodeTable(datastore, handle)
                for (from, to) in [("d", "e"), ("e", "f")] {
                    _ = try datastore.rename(root, FileName(from), to: root, FileName(to), as: .root)
                    let paths = datastore.tier.register.images.values.map(\.path.description)
                    #expect(paths == [bed.path("disk.img")])
                    try bed.write(4, at: offset, handle, datastore)
                    try #expect(bed.readFile(offset)[0] == 4)
                }
            }
        }
    }

    /// A round that began before may have taken note of the new path, and not of what it means.
    @Test func aFileWhosePathIsKnownAlreadyIsRefused() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try #require(unlink(bed.path("disk.img")) == 0)
        try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
            _ = try bed.read(offset, handle, datastore)
            datastore.files.file(for: handle)?.redirects?.noteRename(to: bed.path("disk.img"))
            let root = try bed.root(datastore)
            _ = try datastore.rename(root, "other.img", to: root, "disk.img", as: .root)
            expectRefusal(handle, at: offset, datastore)
        }
    }

    @Test func aFileThatIsLinkedIntoThePlaceIsRefused() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try #require(unlink(bed.path("disk.img")) == 0)
        try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
            _ = try bed.read(offset, handle, datastore)
            let root = try bed.root(datastore)
            _ = try datastore.link(handle, root, "disk.img", as: .root)
            expectRefusal(handle, at: offset, datastore)
            _ = try datastore.remove(root, "other.img", as: .root)
            expectRefusal(handle, at: offset, datastore)
        }
    }

    /// Whether it is refused does not depend on what the log has of the file itself, which stays as it is.
    @Test(arguments: [false, true]) func anImageWithBlocksThatIsMovedIntoThePlaceIsRefused(isServed: Bool) throws {
        var (offset, place) = (0, 0)
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try #require(unlink(bed.path("disk.img")) == 0)
        try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
            place = try bed.inodeTable(datastore, handle, "other.img")
            try bed.write(7, at: place, handle, datastore)
            guard isServed else { return }
            let root = try bed.root(datastore)
            _ = try datastore.rename(root, "other.img", to: root, "disk.img", as: .root)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
        }
        if !isServed { try #require(rename(bed.path("other.img"), bed.path("disk.img")) == 0) }
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            try datastore.resolve(bed.path("disk.img"), keepingLog: false)
            try #expect(bed.read(place, handle, datastore).first == 7)
        }
    }

    /// It is in no wrong place any more, and has its own blocks.
    @Test(arguments: [false, true]) func whatIsMovedOutOfThePlaceIsServedAgain(isLink: Bool) throws {
        try bed.serve(.writeback) { datastore, handle in _ = try bed.redirect(datastore, handle) }
        try #require(unlink(bed.path("disk.img")) == 0)
        try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
            let place = try bed.inodeTable(datastore, handle, "other.img")
            try bed.write(7, at: place, handle, datastore)
            let root = try bed.root(datastore)
            if isLink {
                _ = try datastore.link(handle, root, "disk.img", as: .root)
            } else {
                _ = try datastore.rename(root, "other.img", to: root, "disk.img", as: .root)
            }
            #expect(failure { try bed.read(place, handle, datastore) } == .io)
            let reasons = datastore.tierStatus().images.compactMap(\.reason)
            #expect(reasons.contains { $0.contains("it has the place of another image") }, "\(reasons)")
            if isLink {
                _ = try datastore.remove(root, "disk.img", as: .root)
            } else {
                _ = try datastore.rename(root, "disk.img", to: root, "other.img", as: .root)
            }
            for _ in 0..<6000 where failure({ try bed.read(place, handle, datastore) }) != nil { usleep(10_000) }
            try #expect(bed.read(place, handle, datastore).first == 7)
            #expect(datastore.tierStatus().images.filter { $0.isRefused && !$0.isOrphaned }.isEmpty)
        }
    }

    /// Of a long path only the end is kept: it is not looked there twice a second.
    @Test(arguments: [false, true]) func whatIsMovedIntoALongPlaceIsRefused(byClient: Bool) throws {
        let names = ["D", "E"].map { String(repeating: $0, count: 200) }
        let image = String(repeating: "i", count: 200)
        for name in names { try #require(mkdir(bed.path(name), 0o755) == 0) }
        try #require(rename(bed.path("disk.img"), bed.path("\(names[0])/\(image)")) == 0)
        try #require(rename(bed.path("other.img"), bed.path("\(names[1])/\(image)")) == 0)
        func handle(_ directory: String, _ datastore: Datastore) throws -> HandleAlias {
            let root = try bed.root(datastore)
            let parent = try datastore.lookup(root, FileName(directory), as: .root).handle
            return try datastore.lookup(parent, FileName(image), as: .root).handle
        }
        var offset = 0
        try bed.serve(.writeback, handleOf: names[0]) { datastore, _ in
            let handle = try handle(names[0], datastore)
            offset = try bed.place(of: .inodeTable, length: 16384, datastore, handle, image) + 8192
            try bed.write(RedirectBed.content[0], at: offset, handle, datastore)
        }
        try #require(unlink(bed.path("\(names[0])/\(image)")) == 0 && rmdir(bed.path(names[0])) == 0)
        try bed.serve(.writeback, handleOf: names[1]) { datastore, _ in
            let handle = try handle(names[1], datastore)
            _ = try bed.read(offset, handle, datastore)
            if byClient {
                let root = try bed.root(datastore)
                _ = try datastore.rename(root, FileName(names[1]), to: root, FileName(names[0]), as: .root)
            } else {
                try #require(rename(bed.path(names[1]), bed.path(names[0])) == 0)
                waitForRefusal(handle, at: offset, datastore)
            }
            expectRefusal(handle, at: offset, datastore)
        }
    }

    /// A link is no image, whatever it is called.
    @Test func aSymbolicLinkInThePlaceIsNotTakenForAnImage() throws {
        try bed.serve(.writeback) { datastore, handle in _ = try bed.redirect(datastore, handle) }
        try #require(unlink(bed.path("disk.img")) == 0 && symlink("other.img", bed.path("link")) == 0)
        try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
            let root = try bed.root(datastore)
            _ = try datastore.rename(root, "link", to: root, "disk.img", as: .root)
            _ = try bed.read(0, handle, datastore)
            #expect(datastore.tier.replacements.withLock { $0.files.isEmpty })
            #expect(!bed.log.contains("refused, it is another file"))
        }
    }

    /// As `ln -f` does it; the name that goes is not the one that the image is known by.
    @Test func anImageStaysOnRecordByTheNameThatItHas() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let root = try bed.root(datastore)
            _ = try datastore.link(handle, root, "new", as: .root)
            _ = try datastore.rename(root, "new", to: root, "latest.img", as: .root)
            #expect(datastore.tier.register.images.values.map(\.path.description) == [bed.path("disk.img")])
            _ = try datastore.remove(root, "latest.img", as: .root)
        }
        try replace()
        try bed.serve(.writeback) { datastore, handle in expectRefusal(handle, at: offset, datastore) }
    }

    @Test func anOpenFileThatAnAdministratorMovesIntoThePlaceIsRefused() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try #require(unlink(bed.path("disk.img")) == 0)
        try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
            _ = try bed.read(offset, handle, datastore)
            try #require(rename(bed.path("other.img"), bed.path("disk.img")) == 0)
            for _ in 0..<6000 where !bed.log.contains("\(bed.path("disk.img")): refused") { usleep(10_000) }
            expectRefusal(handle, at: offset, datastore)
        }
    }

    /// By the old path what is put in the image's place would not be found.
    @Test func anImageIsOnRecordByItsNewNameWhenItsRenamingIsAnswered() throws {
        try bed.serve(.writeback) { datastore, handle in
            _ = try bed.redirect(datastore, handle)
            let root = try bed.root(datastore)
            _ = try datastore.rename(root, "disk.img", to: root, "moved.img", as: .root)
            let paths = datastore.tier.register.images.values.map(\.path.description)
            #expect(paths == [bed.path("moved.img")])
        }
    }

    @Test func itIsServedOnceTheImageIsForgotten() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try replace()
        let before = try bed.readFile(offset)
        try bed.serve(.writeback) { datastore, handle in
            expectRefusal(handle, at: offset, datastore)
            try datastore.forget("disk.img")
            try #expect(bed.read(offset, handle, datastore) == before)
        }
    }

    /// The same paths, on a disk that the store was copied to.
    @Test(.enabled(if: isRoot, "mounts file systems")) func aCopyOfTheStoreOnANewDiskIsRefused() throws {
        try bed.withFileSystem { _ in
            var offset = 0
            try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
            let (disk, place) = ("\(bed.directory)/new", "\(bed.directory)/export2")
            try makeSparseFile(disk, size: 160 << 20)
            try runTool("mkfs.ext4", ["-q", disk])
            try runTool("mount", ["-o", "loop", disk, place])
            try runTool("cp", ["-a", "--sparse=always", "\(bed.path("."))", place])
            try runTool("umount", [place])
            try runTool("umount", [bed.path("")])
            try runTool("mount", ["-o", "loop", disk, bed.path("")])
            try bed.serve(.writeback) { datastore, handle in
                expectRefusal(handle, at: offset, datastore)
                let other = try bed.handle("other.img", datastore)
                try bed.write(7, at: 0x40_0000, other, datastore)
            }
            try runTool("umount", [bed.path("")])
            try runTool("mount", ["-o", "loop", "\(bed.directory)/image", bed.path("")])
            try bed.serve(.writeback) { datastore, handle in
                try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
                #expect(datastore.tierStatus().images.map(\.isRefused) == [false])
            }
        }
    }

    /// What kept the image from being opened may pass.
    @Test func itIsServedOnceTheImageCanBeOpened() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try #require(rename(bed.path("disk.img"), bed.path("renamed.img")) == 0)
        try runTool("cp", [bed.path("other.img"), bed.path("disk.img")])
        var status = stat()
        try #require(stat(bed.path("renamed.img"), &status) == 0)
        let inode = UInt64(status.st_ino)
        let isAway = Atomic(true)
        var configuration = DatastoreConfiguration(
            exports: [.init(path: bed.path(""))], stateDirectory: "\(bed.directory)/state")
        configuration.cacheSize = 1 << 20
        configuration.tier = .init(
            directories: ["\(bed.directory)/ssd"], mode: .writeback, size: 64 << 20, drainTimeout: .zero)
        configuration.openFailure = { $0 == inode && isAway.load(ordering: .relaxed) ? EIO : nil }
        let datastore = try Datastore(configuration: configuration, logger: .init(label: "test"))
        defer { datastore.close() }
        let handle = try bed.handle("disk.img", datastore)
        expectRefusal(handle, at: 0, datastore)
        isAway.store(false, ordering: .relaxed)
        _ = try bed.read(0, handle, datastore)
        try #expect(bed.read(offset, bed.handle("renamed.img", datastore), datastore) == RedirectBed.content)
        #expect(datastore.tierStatus().images.map(\.isRefused) == [false])
    }

    /// Of a long path the register keeps the end.
    @Test func aLongPathIsKnownByItsEnd() throws {
        let names = ["a", "b"].map { String(repeating: $0, count: 200) } + ["long.img"]
        let path = names.joined(separator: "/")
        try FileManager.default.createDirectory(
            atPath: bed.path("\(names[0])/\(names[1])"), withIntermediateDirectories: true)
        try #require(rename(bed.path("disk.img"), bed.path(path)) == 0)
        func handle(_ datastore: Datastore) throws -> HandleAlias {
            try names.reduce(try bed.root(datastore)) { try datastore.lookup($0, FileName($1), as: .root).handle }
        }
        var offset = 0
        try bed.serve(.writeback, handleOf: "other.img") { datastore, _ in
            let handle = try handle(datastore)
            offset = try bed.place(of: .inodeTable, length: 16384, datastore, handle, "long.img") + 8192
            try bed.write(RedirectBed.content[0], at: offset, handle, datastore)
        }
        try replace(path)
        try runTool("cp", [bed.path("other.img"), bed.path("long.img")])
        try bed.serve(.writeback, handleOf: "long.img") { datastore, sameName in
            try expectRefusal(handle(datastore), at: offset, datastore)
            _ = try bed.read(offset, sameName, datastore)
        }
    }

    /// Clients have renamed the image since the log got to know it.
    @Test func whatCountsIsThePathThatTheImageHadLast() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let root = try bed.root(datastore)
            _ = try datastore.rename(root, "disk.img", to: root, "renamed.img", as: .root)
            let path = ByteString(bed.path("renamed.img"))
            for _ in 0..<400 where datastore.tier.register.entries.values.first != path { usleep(25_000) }
        }
        try replace("renamed.img")
        try runTool("cp", [bed.path("other.img"), bed.path("disk.img")])
        try bed.serve(.writeback, handleOf: "renamed.img") { datastore, handle in
            expectRefusal(handle, at: offset, datastore)
            _ = try bed.read(offset, bed.handle("disk.img", datastore), datastore)
        }
    }

    /// The name is another file's because clients wanted it so.
    @Test(arguments: [false, true]) func aFileThatClientsPutInThePlaceIsServed(isOnRecordAlone: Bool) throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let root = try bed.root(datastore)
            if isOnRecordAlone {
                // The server ended after the RENAME, before it had told the log.
                let image = try #require(datastore.tier.register.entries.keys.first)
                try datastore.tier.register.changeImages { $0[image]?.isBeingRemoved = true }
            } else {
                _ = try datastore.rename(root, "other.img", to: root, "disk.img", as: .root)
                bed.expectEmptyLog(datastore)
            }
        }
        if isOnRecordAlone { try #require(rename(bed.path("other.img"), bed.path("disk.img")) == 0) }
        try bed.serve(.writeback) { datastore, handle in
            _ = try bed.read(offset, handle, datastore)
            try bed.write(1, at: offset, handle, datastore)
            #expect(datastore.tierStatus().images.allSatisfy { !$0.isOrphaned })
        }
    }

    /// The image is there by another name, and clients have made a file of its old one.
    @Test func aFileWithTheOldNameOfARenamedImageIsServed() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let root = try bed.root(datastore)
            _ = try datastore.rename(root, "disk.img", to: root, "renamed.img", as: .root)
            _ = try datastore.create(root, "disk.img", .guarded(AttributeChanges(size: 8192)), as: .root)
        }
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(0, handle, datastore) == [UInt8](repeating: 0, count: 4096))
            try #expect(bed.read(offset, bed.handle("renamed.img", datastore), datastore) == RedirectBed.content)
        }
    }

    /// Every change of the register is durable, and a client may rename a directory of thousands.
    @Test func aRenamedDirectoryIsNotedAtOnce() throws {
        let names = (0..<8).map { "\($0).img" }
        mkdir(bed.path("d"), 0o755)
        for name in names { try runTool("cp", [bed.path("other.img"), bed.path("d/\(name)")]) }
        try bed.serve(.writeback) { datastore, _ in
            let root = try bed.root(datastore)
            let directory = try datastore.lookup(root, "d", as: .root).handle
            let log = try #require(datastore.tier.attachment?.log.identity)
            for name in names {
                let handle = try datastore.lookup(directory, FileName(name), as: .root).handle
                _ = try bed.read(0, handle, datastore)
                for _ in 0..<400 where datastore.files.file(for: handle)?.member == nil { usleep(25_000) }
                let image = try #require(datastore.images.identity(of: handle))
                try datastore.tier.register.enter(
                    image, path: ByteString(bed.path("d/\(name)")), mark: "", for: log)
            }
            let queue = inotify_init1(Int32(IN_NONBLOCK))
            defer { close(queue) }
            try #require(inotify_add_watch(queue, "\(bed.directory)/state", UInt32(IN_MOVED_TO)) >= 0)
            _ = try datastore.rename(root, "d", to: root, "e", as: .root)
            let place = bed.path("e/")
            func noted() -> Int {
                datastore.tier.register.entries.values.count { $0.description.hasPrefix(place) }
            }
            for _ in 0..<400 where noted() < names.count { usleep(25_000) }
            #expect(noted() == names.count)
            var events = [UInt8](repeating: 0, count: 1 << 16)
            let count = Glibc.read(queue, &events, events.count)
            let text = String(decoding: events.prefix(max(0, count)), as: UTF8.self)
            let changes = text.ranges(of: RedirectRegister.fileName).count
            // It may come while the files are looked through.
            #expect((1...2).contains(changes), "\(changes)")
        }
    }
}
