import BlockStorage
import Foundation
import Glibc
import NIOCore
import TestTools
import Testing
import Tiering

@testable import Datastore

/// Which logs are taken for the one that counts.
@Suite(.serialized)
struct LogOpeningTests {
    private let bed: RedirectBed
    private let both = ["ssd", "ssd2"]

    init() throws {
        bed = try RedirectBed()
    }

    private func log(_ directory: String) -> String { "\(bed.directory)/\(directory)/redirect.log" }

    /// Writes a block that only the log has.
    private func redirectOne(ssd: [String] = ["ssd"], isMirrored: Bool = false) throws -> Int {
        var offset = 0
        try bed.serve(.writeback, ssd: ssd, isMirrored: isMirrored) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
        }
        return offset
    }

    private func expectRefusal(_ words: String, ssd: [String] = ["ssd"], isMirrored: Bool = false) throws {
        try expectUntouched(ssd) {
            try bed.serve(.writeback, ssd: ssd, isMirrored: isMirrored) { datastore, handle in
                #expect(failure { try bed.read(0, handle, datastore) } == .io)
                let status = datastore.tierStatus()
                #expect(status.state == .missing)
                #expect(status.failure?.contains(words) == true, "\(status.failure ?? "")")
            }
        }
    }

    /// Whose log it is cannot be told: nothing of it may change, nor the time by which an administrator tells the newest.
    private func expectUntouched(_ ssd: [String] = ["ssd"], _ body: () throws -> Void) throws {
        let files = ssd.map(log)
        func contents() throws -> String {
            try runTool("sha256sum", files) + runTool("stat", ["--format=%i %s %y %z"] + files)
        }
        let before = try contents()
        try body()
        try #expect(contents() == before)
    }

    private func expectContent(at offset: Int, ssd: [String] = ["ssd"], isMirrored: Bool = false) throws {
        try bed.serve(.writeback, ssd: ssd, isMirrored: isMirrored) { datastore, handle in
            #expect(datastore.tierStatus().state == .attached)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// Whatever has the log's name, it is somebody's.
    @Test func whatIsNoLogIsNotWrittenOver() throws {
        let head = [UInt8](repeating: 0x5A, count: 16384)
        _ = FileManager.default.createFile(
            atPath: log("ssd"), contents: Data(head), attributes: [.posixPermissions: 0o600])
        try #require(truncate(log("ssd"), 64 << 20) == 0)
        do {
            try bed.serve(.writeback) { _, _ in Issue.record("was started") }
        } catch let error as DatastoreError {
            #expect(error.message.contains("\(log("ssd")): use what is no redirect log"), "\(error.message)")
        }
        let file = try FileDevice(path: log("ssd"), access: .readOnly, mode: .buffered)
        try #expect(file.read(ByteRange(offset: 0, length: head.count)) == head)
    }

    /// The start looks into it, for blocks that somebody needs: that is no start of the log's, whose epoch tells whether the
    /// state directory is an older copy.
    @Test func aLogOfAnotherStateDirectoryIsLeftAsItIs() throws {
        let offset = try redirectOne()
        let (state, own) = ("\(bed.directory)/state", "\(bed.directory)/own")
        rename(state, own)
        try expectUntouched {
            do {
                try bed.serve(.writeback) { _, _ in Issue.record("was started") }
            } catch let error as DatastoreError {
                #expect(error.message.contains("which holds blocks of images that"), "\(error.message)")
            }
        }
        try runTool("rm", ["-r", state])
        rename(own, state)
        try expectContent(at: offset)
    }

    @Test(arguments: [false, true]) func anotherLayoutThanTheLogsIsRefused(isMirrored: Bool) throws {
        let offset = try redirectOne(ssd: both, isMirrored: isMirrored)
        let words = isMirrored ? "made mirrored" : "made spread over devices"
        try expectRefusal(words, ssd: both, isMirrored: !isMirrored)
        try expectRefusal(words, ssd: ["ssd"])
        if !isMirrored { try expectRefusal("is device 2", ssd: both.reversed()) }
        try expectContent(at: offset, ssd: both, isMirrored: isMirrored)
    }

    @Test func aDamagedSuperblockIsRepairedFromItsCopy() throws {
        let offset = try redirectOne()
        for copy in [0, 4096, 0] {
            try FileDevice(path: log("ssd"), access: .readWrite, mode: .buffered)
                .write([UInt8](repeating: 0, count: 4096), at: copy)
            try expectContent(at: offset)
        }
        let device = try FileDevice(path: log("ssd"), access: .readWrite, mode: .buffered)
        try device.write([UInt8](repeating: 0, count: 8192), at: 0)
        try expectRefusal("find the log")
    }

    /// The checksum leaves out the magic, in which a bit makes another form of it.
    @Test func aBitInTheFormOfASuperblockIsRepairedFromItsCopy() throws {
        let offset = try redirectOne()
        for copy in [0, 4096] {
            for bit in 0..<8 {
                let device = try FileDevice(path: log("ssd"), access: .readWrite, mode: .buffered)
                let form = try device.read(ByteRange(offset: copy + 7, length: 1))
                try device.write([form[0] ^ 1 << bit], at: copy + 7)
                try expectContent(at: offset)
                try #expect(device.read(ByteRange(offset: copy + 7, length: 1)) == form)
            }
        }
    }

    @Test func anOlderCopyIsRefusedUntilItIsAdopted() throws {
        let offset = try redirectOne()
        try runTool("cp", ["--sparse=never", log("ssd"), "\(bed.directory)/copy"])
        try bed.serve(.writeback) { datastore, handle in try bed.write(1, at: offset, handle, datastore) }
        // Into the same file, so that the generation alone tells.
        try runTool("dd", ["if=\(bed.directory)/copy", "of=\(log("ssd"))", "conv=notrunc", "bs=1M", "status=none"])
        try expectRefusal("older copy")
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try datastore.attachTier() } != nil)
            try datastore.attachTier(adopting: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
        try expectContent(at: offset)
    }

    /// A copy that was put in the log's place may get its inode number, too: when it was made tells.
    @Test(.enabled(if: isRoot, "mounts a file system")) func aCopyWithTheInodeNumberOfTheLogIsRefused() throws {
        let (device, ssd) = ("\(bed.directory)/device", "\(bed.directory)/ssd")
        try makeSparseFile(device, size: 160 << 20)
        try runTool("mkfs.ext4", ["-q", device])
        try runTool("mount", ["-o", "loop", device, ssd])
        defer { _ = try? runTool("umount", ["--lazy", ssd]) }
        chmod(ssd, 0o700)
        let offset = try redirectOne()
        let log = log("ssd")
        let mark = try #require(LogNotes.FileMark(of: log))
        try #require(mark.birth != [0, 0])
        try runTool("cp", ["--preserve=mode", "--sparse=always", log, "\(bed.directory)/copy"])
        for _ in 0..<100 {
            unlink(log)
            try runTool("cp", ["--preserve=mode", "--sparse=always", "\(bed.directory)/copy", log])
            if LogNotes.FileMark(of: log)?.inode == mark.inode { break }
        }
        try #require(LogNotes.FileMark(of: log)?.inode == mark.inode)
        try expectRefusal("another file")
        try bed.serve(.writeback) { datastore, handle in
            try datastore.attachTier(adopting: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    @Test func aLogInAnotherFileIsRefusedUntilItIsAdopted() throws {
        let offset = try redirectOne()
        try runTool("cp", ["--sparse=never", log("ssd"), "\(bed.directory)/copy"])
        rename("\(bed.directory)/copy", log("ssd"))
        try expectRefusal("another file")
        try bed.serve(.writeback) { datastore, handle in
            try datastore.attachTier(adopting: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
        try expectContent(at: offset)
    }

    /// The side that is an older copy gets what it lacks, so that it is enough when the other is gone.
    @Test func aSideThatIsAnOlderCopyIsRepaired() throws {
        let offset = try redirectOne(ssd: both, isMirrored: true)
        try runTool("cp", ["--sparse=never", log("ssd2"), "\(bed.directory)/copy"])
        try bed.serve(.writeback, ssd: both, isMirrored: true) { datastore, handle in
            // Two commits, of which the start writes the last to both sides again in any case.
            _ = try bed.inodeTable(datastore, handle)
            for block in 0..<2 { try bed.write(7, at: offset - block * 4096, handle, datastore) }
            #expect(datastore.tierStatus().liveBytes == 8192)
        }
        try runTool("dd", ["if=\(bed.directory)/copy", "of=\(log("ssd2"))", "conv=notrunc", "bs=1M", "status=none"])
        try bed.serve(.writeback, ssd: both, isMirrored: true) { datastore, handle in
            #expect(datastore.tierStatus().state == .attached)
            try #expect(bed.read(offset, handle, datastore).first == 7)
        }
        rename(log("ssd"), "\(bed.directory)/gone")
        try bed.serve(.writeback, ssd: both, isMirrored: true) { datastore, handle in
            for block in 0..<2 { try #expect(bed.read(offset - block * 4096, handle, datastore).first == 7) }
        }
    }

    @Test func aNewerFormIsRefused() throws {
        _ = try redirectOne()
        let device = try FileDevice(path: log("ssd"), access: .readWrite, mode: .buffered)
        var superblock = try device.read(ByteRange(offset: 0, length: 128))
        superblock[7] = UInt8(ascii: "3")
        superblock[12] = 120
        let checksum = superblock[12..<120].withUnsafeBytes { CRC32C.checksum($0) }
        superblock.replaceSubrange(8..<12, with: withUnsafeBytes(of: checksum.littleEndian) { Array($0) })
        try device.write(superblock, at: 0)
        try expectRefusal("form 3")
    }

    /// The first form had no layout, and 72 bytes; it is read, and is in the present form afterwards.
    @Test(arguments: [["ssd"], ["ssd", "ssd2"]]) func theFirstFormIsUpgraded(directories: [String]) throws {
        let isMirrored = directories.count > 1
        let offset = try redirectOne(ssd: directories, isMirrored: isMirrored)
        for directory in directories { try makeFirstForm(log(directory)) }
        if isMirrored { try expectRefusal("made mirrored", ssd: directories, isMirrored: false) }
        try expectContent(at: offset, ssd: directories, isMirrored: isMirrored)
        let device = try FileDevice(path: log("ssd"), access: .readOnly, mode: .buffered)
        let place = try #require(try RedirectLog.label(of: device)?.place)
        #expect(place.layout == (isMirrored ? .mirror : .single) && place.count == directories.count)
        try expectContent(at: offset, ssd: directories, isMirrored: isMirrored)
    }

    /// Only the older copy was written in the first form: a damaged one may have been the newest.
    @Test func aDamagedSuperblockOfTheFirstFormIsRefused() throws {
        let offset = try redirectOne()
        try makeFirstForm(log("ssd"))
        let device = try FileDevice(path: log("ssd"), access: .readWrite, mode: .buffered)
        let good = try device.read(ByteRange(offset: 0, length: 4096))
        try device.write([UInt8](repeating: 0, count: 4096), at: 0)
        try expectRefusal("a superblock is damaged (expected IRLOGSB1")
        try device.write(good, at: 0)
        try expectContent(at: offset)
    }

    /// Writes both superblocks as the first form had them: 72 bytes, one a generation older than the other.
    private func makeFirstForm(_ path: String) throws {
        let device = try FileDevice(path: path, access: .readWrite, mode: .buffered)
        for offset in [0, 4096] {
            var bytes = try Array(device.read(ByteRange(offset: offset, length: 4096))[..<72])
            bytes[7] = UInt8(ascii: "1")
            bytes.replaceSubrange(8..<16, with: [UInt8](repeating: 0, count: 8))
            let checksum = bytes[16...].withUnsafeBytes { CRC32C.checksum($0) }
            bytes.replaceSubrange(8..<12, with: withUnsafeBytes(of: checksum.littleEndian) { Array($0) })
            try device.write(bytes + [UInt8](repeating: 0, count: 4096 - 72), at: offset)
        }
        try device.flush()
    }
}
