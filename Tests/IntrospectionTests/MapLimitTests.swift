import BlockStorage
import Foundation
import TestTools
import Testing

@testable import GuestFilesystems
@testable import Introspection

/// What is looked at of a disk whose bitmaps have a run in every block.
@Suite struct MapLimitTests {
    private static let recipe = ImageRecipe(type: "ext3", blockSize: 1024)

    private func scan(_ bytes: DiskBytes) throws -> DiskScan {
        try DiskScanner(reader: DeviceReader(bytes), name: "disk").scan()
    }

    /// A disk whose bitmaps call every second block allocated: some 32,000 runs.
    private func alternating() throws -> DiskBytes {
        let bytes = try withImage(Self.recipe) { try DiskBytes(file: $0) }
        let noise = [UInt8](repeating: 0x55, count: 1024)
        for descriptor in try #require(scan(bytes).fileSystems.first).descriptors {
            noise.withUnsafeBytes { bytes.write($0, at: Int(descriptor.blockBitmap) * 1024) }
        }
        return bytes
    }

    @Test func whatWasWrittenDuringAScanIsNotedWhateverTheBitmapsSay() throws {
        let bytes = try alternating()
        var state = IntrospectorState(try scan(bytes), diskSize: bytes.size, generation: 0)
        var granules = WriteGranules(diskSize: bytes.size)
        granules.insert(ByteRange(offset: 0, length: bytes.size))
        state.recordMissed(granules, parts: 2000)
        #expect(state.staleReason == nil)
        let table = try #require(state.fileSystems[0].descriptors.last).inodeTable
        #expect(state.fileSystems[0].undigested.contains(table))
        #expect(state.fileSystems[0].journal?.follower.needsCatchUp == true)
        // Runs of metadata there may be any number of, too.
        state.recordMissed(granules, parts: 20)
        #expect(state.staleReason == "more was written during the scan than can be noted")
    }

    @Test func totalsAreCountedWhateverTheBitmapsSay() throws {
        let bytes = try alternating()
        let state = IntrospectorState(try scan(bytes), diskSize: bytes.size, generation: 0)
        var totals = ClassTotals()
        let whole = ByteRange(offset: 0, length: bytes.size)
        #expect(state.fileSystems[0].addTotals(of: whole, steps: 2000, to: &totals) == bytes.size)
        #expect(totals[.data] > bytes.size / 3 && totals[.free] > bytes.size / 3)
    }

    @Test(arguments: [recipe, ImageRecipe(type: "ext4", blockSize: 1024, options: ["-O", "bigalloc", "-C", "8192"])])
    func totalsAreThoseOfTheClasses(_ recipe: ImageRecipe) throws {
        let bytes = recipe.type == "ext3" ? try alternating() : try withImage(recipe) { try DiskBytes(file: $0) }
        let introspector = try LiveWorld(bytes).introspector
        var sums = ClassTotals()
        introspector.forEachClass(in: ByteRange(offset: 0, length: bytes.size)) { sums[$1] += $0.length }
        #expect(introspector.status.totals == sums)
        // Ranges that begin and end within blocks and clusters.
        var random = SplitMix64(seed: 1)
        for _ in 0..<200 {
            let start = Int.random(in: 0..<bytes.size, using: &random)
            let range = ByteRange(
                offset: start, length: Int.random(in: 1...min(100_000, bytes.size - start), using: &random))
            var (counted, expected) = (ClassTotals(), ClassTotals())
            var next = range.offset
            while next < range.end {
                let rest = ByteRange(offset: next, length: range.end - next)
                introspector.state.withLock { next = $0.fileSystems[0].addTotals(of: rest, steps: 64, to: &counted) }
            }
            introspector.forEachClass(in: range) { expected[$1] += $0.length }
            #expect(counted == expected, "\(range)")
        }
    }

    @Test func aBitmapCountsForOneGroup() throws {
        let bytes = try withImage(Self.recipe) { try DiskBytes(file: $0) }
        let found = try #require(try scan(bytes).fileSystems.first)
        for group in 1..<found.geometry.groupCount {
            withUnsafeBytes(of: UInt32(found.descriptors[0].blockBitmap).littleEndian) {
                bytes.write($0, at: 2048 + 32 * group)
            }
        }
        let scan = try scan(bytes)
        #expect(scan.problems.contains { $0.contains("group 1: its block bitmap is another group's") })
        let groups = found.geometry.blocks(ofGroup: 1).lowerBound..<found.geometry.endBlock
        #expect(scan.fileSystems[0].allocation.allocatedCount(in: groups) == UInt64(groups.count))
        let first = found.geometry.blocks(ofGroup: 0)
        #expect(
            scan.fileSystems[0].allocation.allocatedCount(in: first) == found.allocation.allocatedCount(in: first))
    }

    @Test func aScanThatIsEndedAfterItsLastReadInstallsNothing() throws {
        let world = try LiveWorld(try withImage(Self.recipe) { try DiskBytes(file: $0) })
        nonisolated(unsafe) var calls = 0
        _ = try world.introspector.scan(
            world.reader, parallelism: 1,
            isCancelled: {
                calls += 1
                return false
            })
        let (all, generation) = (calls, world.introspector.state.withLock { $0.generation })
        calls = 0
        let report = try world.introspector.scan(
            world.reader, parallelism: 1,
            isCancelled: {
                calls += 1
                return calls == all
            })
        #expect(report.wasCancelled && world.introspector.state.withLock { $0.generation } == generation)
    }
}
