import BlockStorage
import Foundation
import Glibc
import TestTools
import Testing
import Tiering

@testable import Datastore

/// A store on overlayfs: an image of a lower layer is another file for handles from its first change on, a copy in the upper
/// layer.
@Suite(.serialized, .enabled(if: isRoot, "mounts file systems"))
struct CopyUpTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    /// Runs `body` with the export on overlayfs over its files; `other.img` has two names in the lower layer, and gets another
    /// inode number with its copy.
    private func withOverlay(_ body: () throws -> Void) throws {
        let disk = "\(bed.directory)/layers"
        let layers = "\(bed.directory)/export2"
        try makeSparseFile(disk, size: 160 << 20)
        try runTool("mkfs.ext4", ["-q", disk])
        try runTool("mount", ["-o", "loop", disk, layers])
        defer { _ = try? runTool("umount", ["--lazy", layers]) }
        for name in ["lower", "upper", "work"] { mkdir("\(layers)/\(name)", 0o755) }
        for name in ["disk.img", "other.img"] {
            try runTool("cp", ["--sparse=always", bed.path(name), "\(layers)/lower/\(name)"])
        }
        try #require(link("\(layers)/lower/other.img", "\(layers)/lower/second") == 0)
        let options = "lowerdir=\(layers)/lower,upperdir=\(layers)/upper,workdir=\(layers)/work"
        try runTool("mount", ["-t", "overlay", "-o", options, "none", bed.path("")])
        defer { _ = try? runTool("umount", ["--lazy", bed.path("")]) }
        try body()
    }

    private enum FirstChange: CaseIterable {
        case write, mode, time
    }

    /// What was acknowledged is there after the next start, by whatever the file was first changed.
    @Test(arguments: FirstChange.allCases) private func whatTheLogHasOfACopiedImageIsFound(by first: FirstChange) throws
    {
        try withOverlay {
            var offset = 0
            try bed.serve(.writeback) { datastore, lowerHandle in
                var handle = lowerHandle
                switch first {
                case .write: break
                case .mode:
                    _ = try datastore.setAttributes(handle, AttributeChanges(mode: 0o600), guard: nil, as: .root)
                case .time:
                    let changes = AttributeChanges(modificationTime: .now)
                    _ = try datastore.setAttributes(handle, changes, guard: nil, as: .root)
                }
                // That of the file in the lower layer is as good as long as the file is open.
                if first != .write { handle = try bed.handle("disk.img", datastore) }
                offset = try bed.redirect(datastore, handle)
                #expect(datastore.tierStatus().liveBytes == 4096, "the log takes writes of it")
                #expect(datastore.tierStatus().images.map(\.isOrphaned) == [false])
                try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
                let image = try #require(datastore.tier.register.entries.keys.first)
                try #expect(image == ImageIdentity(bed.handle("disk.img", datastore)))
            }
            for _ in 0..<2 {
                try bed.serve(.writeback) { datastore, handle in
                    try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
                    #expect(datastore.tierStatus().images.map(\.isOrphaned) == [false])
                }
            }
            try bed.serve(.writeback) { datastore, handle in
                try datastore.drain()
                #expect(datastore.tierStatus().liveBytes == 0)
                try #expect(bed.readFile(offset) == RedirectBed.content)
                try #expect(bed.redirect(datastore, handle) == offset)
            }
        }
    }

    /// In the same run, too, the blocks are moved to the copy.
    @Test func whatTheLogHasOfACopiedImageIsMovedToTheCopy() throws {
        try withOverlay {
            try bed.serve(.writeback) { datastore, handle in
                let offset = try bed.redirect(datastore, handle)
                try datastore.drain()
                try #expect(bed.readFile(offset) == RedirectBed.content)
                try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
                #expect(datastore.tierStatus().liveBytes == 0)
            }
        }
    }

    /// One that is another file for the kernel as well goes without the log until it is opened anew.
    @Test func oneWithAnotherNumberGoesWithoutTheLog() throws {
        try withOverlay {
            var offset = 0
            try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
                offset = try bed.inodeTable(datastore, handle, "other.img") + 8192
                for value in [UInt8(1), 2] {
                    try bed.write(value, at: offset, handle, datastore)
                    try #expect(bed.read(offset, handle, datastore).first == value)
                }
                #expect(datastore.tierStatus().liveBytes == 0 && datastore.tier.register.entries.isEmpty)
            }
            try #expect(bed.readFile(offset, "other.img").first == 2)
            try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
                try bed.write(3, at: bed.inodeTable(datastore, handle, "other.img") + 8192, handle, datastore)
                #expect(datastore.tierStatus().liveBytes == 4096, "it is no other file from now on")
            }
            try bed.serve(.writeback, handleOf: "other.img") { datastore, handle in
                try #expect(bed.read(offset, handle, datastore).first == 3)
            }
        }
    }
}
