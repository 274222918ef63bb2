import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// What introspection costs on the path of a write; printed, not judged, since machines differ.
///
///     INTROSPECT_FIGURES=1 swift test -c release -Xswiftc -enable-testing --filter FigureTests
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["INTROSPECT_FIGURES"] != nil))
struct FigureTests {
    private func measure(_ what: String, count: Int, _ body: () throws -> Void) rethrows {
        var times: [Double] = []
        for _ in 0..<5 {
            let start = ContinuousClock.now
            try body()
            let seconds = (ContinuousClock.now - start) / .nanoseconds(1)
            times.append(seconds / Double(count))
        }
        print("\(what): \(String(format: "%.1f", times.sorted()[2])) ns")
    }

    @Test func lookups() {
        let map = PaperSet(seed: 1).makeMap()
        var random = SplitMix64(seed: 1)
        let blocks = (0..<1_000_000).map { _ in UInt64.random(in: 0..<PaperSet.blockCount, using: &random) }
        var sum = 0
        measure("class of a random block of the paper's set", count: blocks.count) {
            for block in blocks { sum += Int(map.blockClass(of: block).rawValue) }
        }
        #expect(sum > 0)
        let runs = PaperSet(seed: 1).runs
        var changing = PaperSet(seed: 1).makeMap()
        measure("an inode's run taken out and put back", count: 20_000) {
            for run in runs.prefix(20_000) {
                _ = changing.setRuns(of: run.owner, [], digest: nil) { _ in }
                _ = changing.setRuns(of: run.owner, [run], digest: nil) { _ in }
            }
        }
    }

    @Test(arguments: [
        ImageRecipe(type: "ext3", blockSize: 4096, size: "300M"),
        ImageRecipe(type: "ext4", blockSize: 4096, size: "300M"),
    ])
    func writes(_ recipe: ImageRecipe) throws {
        var world = try withImage(recipe) { try LiveWorld(DiskBytes(file: $0)) }
        var ranges: [BlockClass: [ByteRange]] = [:]
        world.introspector.forEachClass(in: ByteRange(offset: 0, length: world.device.size)) {
            ranges[$1, default: []].append($0)
        }
        let page = [UInt8](repeating: 1, count: 1 << 20)
        for (what, blockClass) in [("data", BlockClass.data), ("inode table", .inodeTable)] {
            let offsets = (ranges[blockClass] ?? []).flatMap { Array(stride(from: $0.offset, to: $0.end, by: 4096)) }
            try page.withUnsafeBytes { bytes in
                let block = UnsafeRawBufferPointer(rebasing: bytes[..<4096])
                measure("recordWrite of 4 KiB of \(what)", count: offsets.count * 10) {
                    for _ in 0..<10 {
                        for offset in offsets { _ = world.introspector.recordWrite(block, at: offset) }
                    }
                }
                try #require(!offsets.isEmpty)
            }
        }
        let data = try #require(ranges[.data]?.max { $0.length < $1.length })
        let length = min(1 << 20, data.length)
        page.withUnsafeBytes { bytes in
            let block = UnsafeRawBufferPointer(rebasing: bytes[..<length])
            measure("recordWrite of \(length) bytes of data, a 4 KiB block", count: 100_000 * length / 4096) {
                for _ in 0..<100_000 { _ = world.introspector.recordWrite(block, at: data.offset) }
            }
        }
        var sum = 0
        measure("forEachClass of 4 KiB", count: 1_000_000) {
            for index in 0..<1_000_000 {
                let range = ByteRange(offset: index % 70_000 * 4096, length: 4096)
                world.introspector.forEachClass(in: range) { sum += Int($1.rawValue) + $0.length }
            }
        }
        let tables = (ranges[.inodeTable] ?? []).flatMap { Array(stride(from: $0.offset, to: $0.end, by: 4096)) }
        // Those that hold the files: an empty table is no measure.
        let used = tables.prefix(45)
        measure("digest of an unchanged inode table block", count: used.count) {
            for offset in used { _ = world.introspector.recordWrite(world.device.slice(offset, 4096), at: offset) }
            world.digest()
        }
        #expect(world.introspector.status.state == .current)
    }
}
