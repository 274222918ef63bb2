import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// What the blocks that a real kernel writes are taken for when they arrive, against what they are a moment later: at
/// the next sync. Needs root, loop devices and FUSE.
@Suite(.serialized, .enabled(if: canMountImages)) struct ArrivalTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let name: String
        let recipe: ImageRecipe
        var options = "rw,user_xattr"
        /// The least share of metadata that must be known as such on arrival, and of data known as none.
        var metadata = 0.995
        var data = 0.995
        /// The same for metadata when digests lag behind by 40 writes.
        var laggedMetadata = 0.995
        var testDescription: String { name }

        static let all = [
            Case(name: "ext4", recipe: ImageRecipe(type: "ext4", blockSize: 4096, size: "200M")),
            Case(name: "ext4 of 1 KiB", recipe: ImageRecipe(type: "ext4", blockSize: 1024, size: "160M")),
            Case(name: "ext3", recipe: ImageRecipe(type: "ext3", blockSize: 1024, size: "160M")),
            Case(
                name: "ext3 writeback", recipe: ImageRecipe(type: "ext3", blockSize: 4096, size: "200M"),
                options: "rw,user_xattr,data=writeback"),
            Case(
                name: "ext4 journalled data", recipe: ImageRecipe(type: "ext4", blockSize: 4096, size: "200M"),
                options: "rw,user_xattr,data=journal", laggedMetadata: 0),
            Case(
                name: "ext2", recipe: ImageRecipe(type: "ext2", blockSize: 1024, size: "160M"), metadata: 0.95,
                data: 0.95, laggedMetadata: 0.95),
        ]
    }

    static let steps = [
        """
        mkdir -p $m/a/b/c $m/wide
        for i in $(seq 300); do echo $i > "$m/wide/a file with a rather long name, so that blocks fill $i"; done
        for i in $(seq 30); do head -c $((i * 4000)) /dev/urandom > $m/a/b/$i; done
        """,
        """
        for i in $(seq 120); do mkdir $m/a/b/c/$i; head -c 9000 /dev/urandom > $m/a/b/c/$i/f; done
        for i in $(seq 200); do printf x | dd of=$m/a/sparse bs=1 seek=$((i * 150000)) conv=notrunc status=none; done
        """,
        """
        for i in $(seq 20); do mkdir $m/a/s$i; head -c 5000 /dev/urandom > $m/a/s$i/f; sync -f $m; done
        for i in $(seq 20); do
            echo x > $m/x$i; setfattr -n user.own -v $(printf %0300d $i) $m/x$i; ln -s $(printf %0200d $i) $m/l$i
        done
        """,
        """
        rm -rf $m/wide $m/a/b/1* $m/a/s*
        for i in $(seq 100); do mkdir -p $m/n/$i/deeper; head -c 7000 /dev/urandom > $m/n/$i/f; done
        truncate -s 5000000 $m/a/sparse; mv $m/a/b/c $m/moved
        """,
        """
        for i in $(seq 150); do printf x | dd of=$m/second bs=1 seek=$((i * 90000)) conv=notrunc status=none; done
        rm -rf $m/moved $m/n $m/a/sparse
        for i in $(seq 40); do head -c 70000 /dev/urandom > $m/again$i; mkdir $m/d$i; done
        """,
        "rm -rf $m/d* $m/again1*; for i in $(seq 60); do mkdir $m/last$i; echo $i > $m/last$i/f; done",
    ]

    /// Blocks written, by what they are a moment later.
    struct Tally {
        var blocks = 0
        /// Taken for metadata of any kind.
        var asMetadata = 0
        /// Taken for what they are.
        var exact = 0
        /// Free when they arrived, or pending.
        var unclaimed = 0
    }

    struct Tallies {
        var byClass: [BlockClass: Tally] = [:]

        mutating func add(_ arrived: [(offset: Int, blockClass: BlockClass)], truth: DiskIntrospector) {
            for (offset, blockClass) in arrived {
                let truth = truth.blockClass(at: offset)
                byClass[truth, default: Tally()].blocks += 1
                if blockClass.isMetadata { byClass[truth]?.asMetadata += 1 }
                if blockClass == truth { byClass[truth]?.exact += 1 }
                if blockClass == .free || blockClass == .pending { byClass[truth]?.unclaimed += 1 }
            }
        }

        func share(metadata: Bool) -> Double {
            let wanted = byClass.filter { $0.key.isMetadata == metadata && $0.key != .free && $0.key != .journal }
            let count = wanted.reduce(0) { $0 + $1.value.blocks }
            let asMetadata = wanted.reduce(0) { $0 + $1.value.asMetadata }
            guard count > 0 else { return 0 }
            return Double(metadata ? asMetadata : count - asMetadata) / Double(count)
        }

        func print(_ title: String) {
            Swift.print("\(title): metadata known \(share(metadata: true)), data known \(share(metadata: false))")
            for (blockClass, tally) in byClass.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                Swift.print(
                    "    \(blockClass.name): \(tally.blocks) blocks, as metadata \(tally.asMetadata), "
                        + "exactly \(tally.exact), free or pending \(tally.unclaimed)")
            }
        }
    }

    /// Replays `trace` and counts; a digest comes after every `digestEvery` writes.
    private static func measure(_ trace: GuestTrace, blockSize: Int, digestEvery: Int) throws -> Tallies {
        var world = try LiveWorld(trace.initial)
        world.digest()
        let hasJournal = !world.introspector.status.fileSystems.allSatisfy { $0.kind == "ext2" }
        var tallies = Tallies()
        var done = 0
        for quietPoint in trace.quietPoints {
            var arrived: [(offset: Int, blockClass: BlockClass)] = []
            for (number, write) in trace.writes[done..<quietPoint].enumerated() {
                trace.withBytes(of: write) { bytes in
                    world.introspector.forEachClass(ofWrite: bytes, at: write.offset) { range, blockClass in
                        for offset in stride(from: range.offset, to: range.end, by: blockSize) {
                            arrived.append((offset, blockClass))
                        }
                    }
                    world.write(bytes, at: write.offset)
                }
                if number % digestEvery == digestEvery - 1 { world.digest() }
            }
            done = quietPoint
            world.digest()
            #expect(!world.outcome.needsRescan, "\(world.introspector.status.staleReason ?? "")")
            #expect(try world.differences() == [])
            #expect(world.introspector.status.followedJournals == (hasJournal ? 1 : 0))
            let fresh = DiskIntrospector(name: "fresh", diskSize: world.device.size)
            _ = try fresh.scan(DeviceReader(world.device), parallelism: 1)
            tallies.add(arrived, truth: fresh)
        }
        return tallies
    }

    @Test(arguments: Case.all)
    func blocksAreKnownWhenTheyArrive(_ test: Case) throws {
        let trace = try GuestTrace.record(test.recipe, options: test.options, steps: Self.steps)
        #expect(trace.quietPoints.count == Self.steps.count && trace.writes.count > 300)
        for digestEvery in [1, 40] {
            let tallies = try Self.measure(trace, blockSize: test.recipe.blockSize, digestEvery: digestEvery)
            tallies.print("\(test.name), a digest every \(digestEvery) writes")
            #expect(tallies.share(metadata: true) >= (digestEvery == 1 ? test.metadata : test.laggedMetadata))
            #expect(digestEvery > 1 || tallies.share(metadata: false) >= test.data)
        }
    }
}
