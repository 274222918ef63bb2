import BlockStorage
import Glibc
import NIOCore
import Testing
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
}
