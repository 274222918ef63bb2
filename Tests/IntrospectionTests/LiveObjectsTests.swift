import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// The object index follows what a real kernel writes: owners of blocks and paths are at every quiet point what a scan
/// finds. Needs root, loop devices and FUSE.
@Suite(.serialized, .enabled(if: canMountImages)) struct LiveObjectsTests {
    private static let steps =
        ArrivalTests.steps + [
            """
            mkdir -p $m/one/two $m/other; for i in $(seq 50); do head -c 9000 /dev/urandom > $m/one/two/f$i; done
            ln $m/one/two/f1 $m/other/linked
            """,
            "mv $m/one/two $m/other/moved; mv $m/other/moved/f7 $m/f7; rm $m/other/moved/f1; truncate -s 3000 $m/f7",
            "rm -rf $m/other/moved; for i in $(seq 30); do head -c 30000 /dev/urandom > $m/other/g$i; done",
        ]

    @Test(arguments: [
        ImageRecipe(type: "ext2", blockSize: 1024, size: "160M"),
        ImageRecipe(type: "ext4", blockSize: 4096, size: "200M", options: ["-O", "inline_data"]),
    ])
    func ownersAndPathsFollowTheGuest(_ recipe: ImageRecipe) throws {
        let trace = try GuestTrace.record(recipe, options: "rw,user_xattr", steps: Self.steps)
        var world = try LiveWorld(trace.initial)
        var random = SplitMix64(seed: 11)
        var done = 0
        for (number, quietPoint) in trace.quietPoints.enumerated() {
            for (index, write) in trace.writes[done..<quietPoint].enumerated() {
                trace.withBytes(of: write) { world.write($0, at: write.offset) }
                if index % 30 == 29 { world.digest() }
                // In the midst of the guest's work: what is current then is brought up to date later.
                if index % 150 == 149 { _ = world.introspector.explain(offset: write.offset, world.reader) }
            }
            done = quietPoint
            world.digest()
            let differences = try Self.differences(world, &random)
            #expect(differences == [], "\(recipe), step \(number)")
        }
        let bytes = world.introspector.objectIndexBytes
        print("\(recipe): an object index of \(bytes) bytes, \(Double(bytes) / Double(world.device.size)) of the disk")
        #expect(bytes > 0 && bytes <= max(64 << 10, world.device.size / 1000))
    }

    /// What the index and a fresh scan say differently, in words.
    private static func differences(_ world: LiveWorld, _ random: inout SplitMix64) throws -> [String] {
        let fresh = try ObjectIndex(reader: world.reader, name: "fresh")
        var offsets: [Int] = []
        var lines: [String] = []
        let index = try #require(world.introspector.currentIndex(of: 0, world.reader))
        let blockSize = world.introspector.state.withLock { $0.fileSystems[0].map.blockSize }
        var owned = 0
        fresh.forEachRun(in: ByteRange(offset: 0, length: world.device.size)) { run in
            if run.owner != nil, Int.random(in: 0..<8, using: &random) == 0 { offsets.append(run.range.offset) }
            guard run.blockClass == .data else { return }
            for offset in stride(from: run.range.offset, to: run.range.end, by: blockSize) {
                let live = index.owner(of: UInt64(offset / blockSize))
                owned += run.owner == nil ? 0 : 1
                if live.map(UInt64.init) != run.owner { lines.append("\(offset): \(live ?? 0), not \(run.owner ?? 0)") }
            }
        }
        var live = 0
        index.forEachExtent {
            live += Int($1); _ = ($0, $2)
        }
        if live != owned { lines.append("\(live) blocks of files, not \(owned)") }
        for offset in offsets.shuffled(using: &random).prefix(30) {
            let found = world.introspector.explain(offset: offset, world.reader)
            let expected = fresh.explain(offset: offset)
            guard found != expected else { continue }
            var same = found
            same.path = expected.path
            // A file with several names may be told by either.
            let places = try found.path.map { try world.introspector.places(of: $0, volume: nil, world.reader) }
            let isPlace = places?.contains { $0.range.contains(ByteRange(offset: offset, length: 1)) } ?? false
            if same != expected || !isPlace { lines.append("\(found) is not \(expected)") }
        }
        return Array(lines.prefix(20))
    }
}
