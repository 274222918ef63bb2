import BlockStorage
import Foundation
import GuestFilesystems
import TestTools
import Testing

@testable import Introspection

@Suite struct ObjectIndexTests {
    @Test(arguments: [0, 4, 7, 8, 10, 12].map { ImageRecipe.all[$0] })
    func runsCoverTheDiskAndAgreeWithTheScan(recipe: ImageRecipe) throws {
        try withImage(recipe) { image in
            let device = try FileDevice(path: image, access: .readOnly, mode: .buffered)
            let index = try ObjectIndex(reader: DeviceReader(device), name: image)
            var runs: [ObjectIndex.Run] = []
            index.forEachRun(in: ByteRange(offset: 0, length: device.size)) { runs.append($0) }
            #expect(runs.first?.range.offset == 0)
            #expect(runs.last?.range.end == device.size)
            for (run, next) in zip(runs, runs.dropFirst()) {
                #expect(run.range.end == next.range.offset)
                #expect(run.blockClass != next.blockClass || run.owner != next.owner)
            }
            var total = [BlockClass: Int]()
            for run in runs { total[run.blockClass, default: 0] += run.range.length }
            let bytes = try device.read(ByteRange(offset: 1024, length: 1024))
            let superblock = try ExtSuperblock(parsing: bytes.span.bytes)
            #expect(total[.free] == Int(superblock.freeBlockCount) * recipe.blockSize)
            // Any part of the disk is what it is in the whole.
            var random = SplitMix64(seed: 3)
            for _ in 0..<50 {
                let offset = Int.random(in: 0..<device.size, using: &random)
                let part = ByteRange(offset: offset, length: min(device.size - offset, 1 << 20))
                var parts: [ObjectIndex.Run] = []
                index.forEachRun(in: part) { parts.append($0) }
                let expected = runs.compactMap { run in
                    run.range.intersection(part).map {
                        ObjectIndex.Run(range: $0, blockClass: run.blockClass, owner: run.owner)
                    }
                }
                #expect(parts == expected)
            }
        }
    }

    @Test(arguments: [0, 4, 5, 7].map { ImageRecipe.all[$0] })
    func explainsWhatDebugfsKnows(recipe: ImageRecipe) throws {
        try withImage(recipe) { image in
            let device = try FileDevice(path: image, access: .readOnly, mode: .buffered)
            let index = try ObjectIndex(reader: DeviceReader(device), name: image)
            for (path, blockClass) in [
                ("/deep/far", BlockClass.data), ("/deep/sparse", .data), ("/many", .directory),
                ("/deep/er/still", .directory), ("/deep/er/long", .symlink), ("/lost+found", .directory),
            ] {
                let blocks = try runTool("debugfs", ["-R", "bmap \(path) 0", image])
                let block = try #require(Int(blocks.trimmingCharacters(in: .whitespacesAndNewlines)))
                let explanation = index.explain(offset: block * recipe.blockSize + 77)
                #expect(explanation.path == ByteString(path))
                #expect(explanation.blockClass == blockClass)
                #expect(explanation.block == UInt64(block))
                #expect(explanation.volume == "disk")
                #expect(explanation.fileSystem == recipe.type)
                #expect(explanation.fileOffset == (blockClass == .data ? 77 : nil))
                let text = try runTool("debugfs", ["-R", "icheck \(block)", image])
                #expect(text.contains("\t\(explanation.inode ?? 0)"))
            }
            // 17,000,000 bytes in lies the second piece of the file.
            let logical = 17_000_000 / recipe.blockSize
            let block = try runTool("debugfs", ["-R", "bmap /deep/far \(logical)", image])
            let offset = try #require(Int(block.trimmingCharacters(in: .whitespacesAndNewlines))) * recipe.blockSize
            #expect(index.explain(offset: offset).fileOffset == logical * recipe.blockSize)
            #expect(index.explain(offset: 1024).blockClass == .superblock)
            #expect(index.explain(offset: device.size).blockClass == .unknown)
        }
    }

    @Test func dataThatTwoFilesClaimIsGivenToOne() {
        var runs = [
            OwnedRun(block: 10, count: 10, owner: 20, logicalBlock: 0),
            OwnedRun(block: 5, count: 6, owner: 21, logicalBlock: 100),
            OwnedRun(block: 12, count: 2, owner: 22, logicalBlock: 0),
            OwnedRun(block: 19, count: 4, owner: 23, logicalBlock: 7),
        ]
        #expect(runs.makeDisjoint() == 1 + 2 + 1)
        #expect(
            runs == [
                OwnedRun(block: 5, count: 6, owner: 21, logicalBlock: 100),
                OwnedRun(block: 11, count: 9, owner: 20, logicalBlock: 1),
                OwnedRun(block: 20, count: 3, owner: 23, logicalBlock: 8),
            ])
    }

    /// A file system on a whole disk whose first sector is a boot record all the same.
    @Test func aVolumeThatBeginsWithABootRecordKeepsItsBlocks() throws {
        try withImage(ImageRecipe(type: "ext4", blockSize: 1024)) { image in
            let bytes = try DiskBytes(file: image)
            let index = try ObjectIndex(reader: DeviceReader(bytes), name: "disk")
            var expected: [ObjectIndex.Run] = []
            let rest = ByteRange(offset: 512, length: bytes.size - 512)
            index.forEachRun(in: rest) { expected.append($0) }
            [UInt8]([0x55, 0xaa]).withUnsafeBytes { bytes.write($0, at: 510) }
            let signed = try ObjectIndex(reader: DeviceReader(bytes), name: "disk")
            var runs: [ObjectIndex.Run] = []
            signed.forEachRun(in: rest) { runs.append($0) }
            #expect(runs.count > 100 && runs == expected)
            #expect(signed.explain(offset: 0).blockClass == .partitionTable)
        }
    }

    @Test func quotasAndTheOrphanFileAreMetadata() throws {
        try withImage(ImageRecipe(type: "ext4", blockSize: 1024, options: ["-O", "quota,orphan_file"])) { image in
            let bytes = try DiskBytes(file: image)
            let found = try #require(
                try DiskScanner(reader: DeviceReader(bytes), name: "disk").scan().fileSystems.first)
            let superblock = found.geometry.superblock
            let books = superblock.quotaInodes + [superblock.orphanFileInode]
            #expect(books.count == 3 && !books.contains(0))
            for inode in books {
                let own = found.runs.filter { $0.owner == inode }
                #expect(!own.isEmpty && own.allSatisfy { $0.blockClass == .metadata }, "inode \(inode)")
            }
        }
    }
}
