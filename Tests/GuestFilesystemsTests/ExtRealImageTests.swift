import Foundation
import TestTools
import Testing

@testable import GuestFilesystems

/// What mke2fs makes, and what dumpe2fs says of it.
private struct Recipe: CustomTestStringConvertible {
    let type: String
    let blockSize: Int
    let size: String
    var options: [String] = []
    var testDescription: String { "\(type) \(blockSize) \(size) \(options.joined(separator: " "))" }

    static let all = [
        Recipe(type: "ext2", blockSize: 1024, size: "300M"),
        Recipe(type: "ext2", blockSize: 1024, size: "100M", options: ["-O", "^sparse_super,^resize_inode"]),
        Recipe(type: "ext2", blockSize: 1024, size: "20M", options: ["-r", "0"]),
        Recipe(type: "ext3", blockSize: 2048, size: "300M"),
        Recipe(type: "ext3", blockSize: 4096, size: "2G"),
        Recipe(type: "ext3", blockSize: 4096, size: "1000M", options: ["-g", "8192", "-N", "77777", "-I", "128"]),
        Recipe(type: "ext4", blockSize: 1024, size: "600M"),
        Recipe(type: "ext4", blockSize: 4096, size: "3G", options: ["-L", "röot", "-U", "time"]),
        Recipe(type: "ext4", blockSize: 4096, size: "3G", options: ["-O", "^64bit,^metadata_csum,uninit_bg"]),
        Recipe(type: "ext4", blockSize: 4096, size: "3G", options: ["-O", "^metadata_csum,uninit_bg,64bit"]),
        Recipe(type: "ext4", blockSize: 1024, size: "600M", options: ["-O", "meta_bg,^resize_inode"]),
        Recipe(type: "ext4", blockSize: 1024, size: "600M", options: ["-O", "sparse_super2"]),
        Recipe(type: "ext4", blockSize: 1024, size: "600M", options: ["-O", "bigalloc", "-C", "16384"]),
        Recipe(type: "ext4", blockSize: 4096, size: "600M", options: ["-O", "^flex_bg,metadata_csum_seed,mmp"]),
        Recipe(type: "ext4", blockSize: 65536, size: "600M"),
    ]
}

/// One `Group` paragraph of dumpe2fs.
private struct DumpedGroup: Equatable {
    var blocks: ClosedRange<UInt64>
    var superblock: UInt64?
    var descriptors: ClosedRange<UInt64>?
    var reserved: ClosedRange<UInt64>?
    var blockBitmap: UInt64 = 0
    var inodeBitmap: UInt64 = 0
    var inodeTable: ClosedRange<UInt64> = 0...0

    static func range(_ text: Substring) -> ClosedRange<UInt64> {
        let numbers = text.prefix { $0.isNumber || $0 == "-" }.split(separator: "-").compactMap { UInt64($0) }
        return numbers[0]...numbers[numbers.count - 1]
    }

    static func parse(_ text: String) -> [DumpedGroup] {
        var groups: [DumpedGroup] = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix("Group "), let start = line.range(of: "(Blocks ")?.upperBound {
                groups.append(DumpedGroup(blocks: range(line[start...])))
                continue
            }
            guard !groups.isEmpty else { continue }
            func value(_ label: String) -> ClosedRange<UInt64>? {
                line.range(of: label).map { range(line[$0.upperBound...]) }
            }
            let last = groups.count - 1
            if let found = value("superblock at ") { groups[last].superblock = found.lowerBound }
            if let found = value("Group descriptors at ") ?? value("Group descriptor at ") {
                groups[last].descriptors = found
            }
            if let found = value("Reserved GDT blocks at ") { groups[last].reserved = found }
            if let found = value("Block bitmap at ") { groups[last].blockBitmap = found.lowerBound }
            if let found = value("Inode bitmap at ") { groups[last].inodeBitmap = found.lowerBound }
            if let found = value("Inode table at ") { groups[last].inodeTable = found }
        }
        return groups
    }
}

@Suite struct ExtRealImageTests {
    @Test(arguments: Recipe.all)
    private func layoutEqualsDumpe2fs(recipe: Recipe) throws {
        try withTemporaryDirectory { directory in
            let image = directory + "/image"
            try runTool(
                "mke2fs",
                ["-q", "-F", "-t", recipe.type, "-b", "\(recipe.blockSize)"] + recipe.options + [image, recipe.size])
            let bytes = try readFile(image, offset: ExtSuperblock.offset, count: ExtSuperblock.size)
            let superblock = try ExtSuperblock(parsing: bytes.span.bytes)
            let size = try #require(try FileManager.default.attributesOfItem(atPath: image)[.size] as? Int)
            try superblock.check(deviceSize: size)
            let isIntact = superblock.hasValidChecksum(bytes.span.bytes)
            #expect(isIntact)
            #expect(superblock.unsupportedFeatures == [])

            let text = try runTool("dumpe2fs", [image])
            try compareHeader(superblock, text, recipe)
            let geometry = ExtGeometry(superblock)
            let groups = DumpedGroup.parse(text)
            #expect(groups.count == geometry.groupCount)
            for (number, group) in groups.enumerated() {
                let block = number / geometry.descriptorsPerBlock
                let table = try readFile(
                    image, offset: Int(geometry.descriptorBlock(block)) * superblock.blockSize,
                    count: superblock.blockSize)
                let offset = number % geometry.descriptorsPerBlock * superblock.descriptorSize
                let descriptor = try ExtGroupDescriptor(
                    parsing: table.span.bytes, at: offset, size: superblock.descriptorSize)
                let isIntact = ExtGroupDescriptor.hasValidChecksum(
                    table.span.bytes, at: offset, group: number, superblock: superblock)
                #expect(isIntact)
                #expect(describe(geometry, number, descriptor) == group, "group \(number)")
            }
        }
    }

    private func describe(_ geometry: ExtGeometry, _ number: Int, _ descriptor: ExtGroupDescriptor) -> DumpedGroup {
        func closed(_ range: Range<UInt64>) -> ClosedRange<UInt64>? { range.isEmpty ? nil : ClosedRange(range) }
        let overhead = geometry.overhead(ofGroup: number)
        return DumpedGroup(
            blocks: ClosedRange(geometry.blocks(ofGroup: number)), superblock: closed(overhead.superblock)?.lowerBound,
            descriptors: closed(overhead.descriptors), reserved: closed(overhead.reservedDescriptors),
            blockBitmap: geometry.blockBitmap(descriptor) ?? 0, inodeBitmap: geometry.inodeBitmap(descriptor) ?? 0,
            inodeTable: geometry.inodeTable(descriptor).map { ClosedRange($0) } ?? 0...0)
    }

    private func compareHeader(_ superblock: ExtSuperblock, _ text: String, _ recipe: Recipe) throws {
        func header(_ name: String) -> String {
            let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
            return (line?.dropFirst(name.count + 1)).map { $0.trimmingCharacters(in: .whitespaces) } ?? ""
        }
        let features = header("Filesystem features").split(separator: " ").map(String.init)
        #expect(Set(superblock.featureNames) == Set(features.filter { $0 != "(none)" }))
        #expect("\(superblock.kind)" == recipe.type)
        #expect(superblock.uuid == header("Filesystem UUID"))
        #expect(superblock.stateDescription == header("Filesystem state"))
        #expect("\(superblock.blockCount)" == header("Block count"))
        #expect("\(superblock.inodeCount)" == header("Inode count"))
        #expect("\(superblock.freeBlockCount)" == header("Free blocks"))
        #expect("\(superblock.inodeSize)" == (header("Inode size").isEmpty ? "128" : header("Inode size")))
        let label = header("Filesystem volume name")
        #expect(superblock.label == (label == "<none>" ? "" : label))
        if superblock.journalInode != 0 { #expect("\(superblock.journalInode)" == header("Journal inode")) }
    }
}
