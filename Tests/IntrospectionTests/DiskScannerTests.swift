import BlockStorage
import Foundation
import GuestFilesystems
import Testing

@testable import Introspection

@Suite struct DiskScannerTests {
    @Test(arguments: ImageRecipe.all)
    func realFileSystems(recipe: ImageRecipe) throws {
        try withImage(recipe) { image in
            let device = try FileDevice(path: image, access: .readOnly, mode: .buffered)
            var scanner = DiskScanner(reader: DeviceReader(device), name: image)
            scanner.collectsData = true
            let scan = try scanner.scan()
            #expect(scan.problems == [])
            let found = try #require(scan.fileSystems.first)
            #expect(found.counts.directories == 6)
            #expect(found.counts.symbolicLinks == 2)
            everyAllocatedBlockHasOneOwner(found)
            scanner.collectsData = false
            try oneThreadFindsWhatManyFind(scanner, recipe)
            try walkingEachInodeFindsTheSame(found, device)
        }
    }

    /// All that files and structures hold, taken together, is exactly what the block bitmaps call allocated.
    private func everyAllocatedBlockHasOneOwner(_ found: ScannedFileSystem) {
        let fixed = found.geometry.fixedRuns(found.descriptors).runs
        var claimed = Set<UInt64>()
        var total = 0
        for (block, count) in fixed.map({ ($0.block, $0.count) }) + found.runs.map({ ($0.block, $0.count) })
            + found.dataRuns.map({ ($0.block, $0.count) })
        {
            claimed.formUnion(block..<block + UInt64(count))
            total += Int(count)
        }
        #expect(claimed.count == total)
        var allocated = Set<UInt64>()
        found.allocation.forEachAllocatedRun(in: 0..<found.geometry.endBlock) { allocated.formUnion($0) }
        // Bitmaps that were never written leave out the structures of their groups, and clusters are whole.
        let structures = Set(fixed.flatMap { Array($0.block..<$0.block + UInt64($0.count)) })
        let perCluster = UInt64(found.geometry.superblock.blocksPerCluster)
        let clusters = { (blocks: Set<UInt64>) in Set(blocks.map { $0 / perCluster }) }
        #expect(clusters(allocated.union(structures)) == clusters(claimed))
    }

    private func oneThreadFindsWhatManyFind(_ scanner: DiskScanner, _ recipe: ImageRecipe) throws {
        var scanner = scanner
        let many = try scanner.scan()
        scanner.options.parallelism = 1
        scanner.options.gapTolerance = 0
        scanner.options.requestLimit = recipe.blockSize
        let one = try scanner.scan()
        #expect(one.fileSystems[0].runs == many.fileSystems[0].runs)
        #expect(one.fileSystems[0].roots == many.fileSystems[0].roots)
        #expect(one.bytesRead <= many.bytesRead)
        #expect(one.readCount > many.readCount)
    }

    private func walkingEachInodeFindsTheSame(_ found: ScannedFileSystem, _ device: FileDevice) throws {
        let superblock = found.geometry.superblock
        let walk = ExtInodeWalk(geometry: found.geometry, reader: DeviceReader(device))
        var walked: [MetadataRun] = []
        for number in 1...superblock.inodeCount {
            let group = try #require(found.geometry.group(ofInode: number))
            guard !found.descriptors[group].flags.contains(.inodesUninitialized) else { continue }
            let place = try #require(found.geometry.location(ofInode: number, in: found.descriptors[group]))
            let bytes = try device.read(
                ByteRange(
                    offset: Int(place.block) * superblock.blockSize + place.offset, length: superblock.inodeSize))
            walked += try walk.metadataRuns(of: try ExtInode(parsing: bytes.span.bytes), number: number)
        }
        #expect(walked.sorted { $0.block < $1.block } == found.runs)
    }
}
