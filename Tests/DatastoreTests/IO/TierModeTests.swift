import BlockStorage
import Glibc
import NIOCore
import Synchronization
import Testing
import TestTools
import Tiering

@testable import Datastore

/// Modes of single images and exports.
@Suite(.serialized)
struct TierModeTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    @Test func eachImageHasTheModeOfTheFirstPatternThatMatches() throws {
        let modes: [(String, DatastoreConfiguration.TierMode)] = [("other*", .off), ("o*", .writeback)]
        try bed.serve(.writeback, modes: modes) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let other = try bed.handle("other.img", datastore)
            let otherOffset = try bed.inodeTable(datastore, other, "other.img")
            try bed.write(1, at: otherOffset, other, datastore)
            try #expect(bed.readFile(otherOffset, "other.img").first == 1)
            try #expect(bed.readFile(offset) != RedirectBed.content)
            #expect(datastore.tierStatus().images.map(\.path) == [bed.path("disk.img")])
        }
    }

    @Test func oneImageMayHaveTheLogAlone() throws {
        try bed.serve(.off, modes: [("disk.img", .writethrough)]) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            try #expect(bed.readFile(offset) == RedirectBed.content)
            #expect(datastore.tierStatus().liveBytes == 4096)
        }
    }

    /// What the log has of an image whose mode is `off` now goes to the image, while the others' stays.
    @Test func modeOffEmptiesTheLogOfAnImage() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try bed.serve(.writeback, modes: [("disk.img", .off)]) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            for _ in 0..<100 where datastore.tierStatus().liveBytes > 0 { usleep(10_000) }
            #expect(datastore.tierStatus().liveBytes == 0)
            try #expect(bed.readFile(offset) == RedirectBed.content)
        }
    }

    /// Of files that are closed nothing stays.
    @Test func imagesOfModeOffAreKnownWhileTheyAreOpen() throws {
        try bed.serve(.writeback, modes: [("plain*", .off)]) { datastore, _ in
            let root = try bed.root(datastore)
            for number in 0..<5 {
                let mode = CreateMode.guarded(AttributeChanges(mode: 0o600))
                let handle = try datastore.create(root, FileName("plain\(number)"), mode, as: .root).handle
                try bed.write(1, at: 0, handle, datastore)
                #expect(datastore.tier.emptied.withLock { $0.count } == number + 1)
            }
            let open = datastore.files.table.withLock { $0.files.map(\.file.identity) }
            for file in open { datastore.files.forget(file) }
            // Who goes through the open files has them for a moment.
            for _ in 0..<200 where !datastore.tier.emptied.withLock({ $0.isEmpty }) { usleep(10_000) }
            #expect(datastore.tier.emptied.withLock { $0.isEmpty })
        }
    }

    /// The register of images that need the log is written with each: it has an end.
    @Test func theLogTakesNothingOfMoreImagesThanAreEntered() throws {
        try bed.serve(.writeback) { datastore, handle in
            let register = datastore.tier.register
            let entry = RedirectRegister.Entry(path: "/other.img", mark: "")
            try register.changeImages { images in
                for number in 0..<RedirectRegister.mostImages {
                    let digits = String(number, radix: 16)
                    let identity = String(repeating: "0", count: 8 - digits.count) + digits
                    if let image = ImageIdentity(hexadecimal: identity) { images[image] = entry }
                }
            }
            let offset = try bed.redirect(datastore, handle)
            try #expect(bed.readFile(offset) == RedirectBed.content)
            #expect(datastore.tierStatus().liveBytes == 0)
            // One less makes room, and what stands there goes on to be redirected.
            let first = try #require(register.images.keys.first)
            try register.remove([first])
            try bed.write(2, at: offset, handle, datastore)
            try bed.write(3, at: offset, handle, datastore)
            try #expect(bed.readFile(offset) == RedirectBed.content)
            try #expect(bed.read(offset, handle, datastore).first == 3)
            try register.changeImages { images in images = images.filter { $0.value != entry } }
        }
    }

    /// The image is renamed while the log has its write, and not the file: the write goes on as it has begun.
    @Test func aWriteHasOneMode() throws {
        try bed.serve(.writethrough, modes: [("plain*", .writeback)]) { datastore, handle in
            let offset = try bed.inodeTable(datastore, handle) + 8192
            let redirects = try #require(try datastore.openFile(handle).redirects)
            let isRenamed = Atomic(false)
            bed.faults.atFlush.withLock { hook in
                hook = { [bed] in
                    redirects.noteRename(to: bed.path("plain.img"))
                    isRenamed.store(true, ordering: .relaxed)
                }
            }
            try bed.write(0x22, at: offset, handle, datastore)
            bed.faults.atFlush.withLock { $0 = nil }
            let hasNewName = isRenamed.load(ordering: .relaxed)
            #expect(hasNewName)
            #expect(!datastore.tier.register.contains(redirects.image))
            try #expect(bed.readFile(offset).allSatisfy { $0 == 0x22 }, "no register knows that the log has it")
        }
    }

    @Test func aRenamedImageHasTheModeOfItsNewName() throws {
        try bed.serve(.writeback, modes: [("plain*", .off)]) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            let root = try bed.root(datastore)
            _ = try datastore.rename(root, FileName("disk.img"), to: root, FileName("plain.img"), as: .root)
            for _ in 0..<300 where datastore.tierStatus().liveBytes > 0 { usleep(10_000) }
            try bed.write(1, at: offset, handle, datastore)
            try #expect(bed.readFile(offset, "plain.img").first == 1)
        }
    }

    /// The kernel knows no path of a file that was opened by its handle alone.
    @Test(.enabled(if: isRoot, "mounts a file system"))
    func anImageHasItsModeAlsoWhenItIsOpenedByAnOldHandle() throws {
        let (device, export) = ("\(bed.directory)/device", "\(bed.directory)/export")
        try makeSparseFile(device, size: 64 << 20)
        try runTool("mkfs.ext4", ["-q", device])
        try runTool("mount", ["-o", "loop", device, export])
        defer { _ = try? runTool("umount", ["--lazy", export]) }
        try runTool("mke2fs", ["-q", "-t", "ext3", "-F", bed.path("disk.img"), "8192k"])
        var configuration = DatastoreConfiguration(
            exports: [.init(path: export)], stateDirectory: "\(bed.directory)/state")
        configuration.cacheSize = 1 << 20
        configuration.tier = .init(directories: ["\(bed.directory)/ssd"], mode: .writeback, size: 64 << 20)
        configuration.tier?.modes = [(bed.path("disk.img"), .off)]
        let handle = try {
            let first = try Datastore(configuration: configuration, logger: .init(label: "test"))
            defer { first.close() }
            return try bed.handle("disk.img", first)
        }()
        // As long as anybody has a descriptor of it the kernel knows the names on a device.
        try runTool("sync", ["-f", export])
        try runTool("umount", ["--lazy", export])
        try runTool("cp", ["--sparse=always", device, "\(device)2"])
        try runTool("mount", ["-o", "loop", "\(device)2", export])
        let second = try Datastore(configuration: configuration, logger: .init(label: "test"))
        defer { second.close() }
        let offset = try bed.inodeTable(second, handle) + 8192
        try bed.write(7, at: offset, handle, second)
        #expect(second.tierStatus().liveBytes == 0, "the log takes nothing of it")
        try #expect(bed.readFile(offset).first == 7)
    }
}
