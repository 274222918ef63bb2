import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// Blocks that may be punched by the rule of invariant 7 are punched in a copy of the disk while a real kernel's writes
/// arrive: at every quiet point all that is in use is intact in it. Needs root, loop devices and FUSE.
@Suite(.serialized, .enabled(if: canMountImages)) struct ReclaimTests {
    private static let steps = [
        "for i in $(seq 200); do mkdir -p $m/a/$((i % 9)); head -c $((i * 500)) /dev/urandom > $m/a/$((i % 9))/f$i; done",
        """
        for i in $(seq 60); do
            rm -f $m/a/*/f*$((i % 10)); head -c 40000 /dev/urandom > $m/a/1/g$i; sync $m/a/1/g$i
            head -c 9000 /dev/urandom > $m/a/2/h$i; truncate -s 100 $m/a/1/g$((i / 2 + 1))
        done
        """,
        "rm -rf $m/a/1 $m/a/2; for i in $(seq 40); do echo $i > $m/b$i; sync $m/b$i; done",
        "for i in $(seq 300); do head -c 30000 /dev/urandom > $m/again$i; done; rm $m/again*7",
    ]

    @Test(arguments: [
        ImageRecipe(type: "ext3", blockSize: 1024, size: "96M"),
        ImageRecipe(type: "ext4", blockSize: 4096, size: "128M"),
    ])
    func nothingInUseIsEverPunched(_ recipe: ImageRecipe) throws {
        let trace = try GuestTrace.record(recipe, options: "rw,user_xattr", steps: Self.steps)
        var world = try LiveWorld(trace.initial)
        let punched = DiskBytes(copying: trace.initial)
        let zeros = DiskBytes(size: punched.size)
        let whole = ByteRange(offset: 0, length: punched.size)
        world.digest()
        #expect(world.introspector.reclaimable(in: whole) == [])
        var (done, punchedBytes) = (0, 0)
        for quietPoint in trace.quietPoints {
            for (number, write) in trace.writes[done..<quietPoint].enumerated() {
                trace.withBytes(of: write) { bytes in
                    world.write(bytes, at: write.offset)
                    punched.write(bytes, at: write.offset)
                }
                guard number % 20 == 19 else { continue }
                world.digest()
                for range in world.introspector.reclaimable(in: whole) {
                    guard !punched.equals(zeros, at: range.offset, length: range.length) else { continue }
                    punched.write(zeros.slice(range.offset, range.length), at: range.offset)
                    punchedBytes += range.length
                }
            }
            done = quietPoint
            world.digest()
            var lost: [ByteRange] = []
            let fresh = DiskIntrospector(name: "fresh", diskSize: punched.size)
            _ = try fresh.scan(DeviceReader(world.device), parallelism: 1)
            fresh.forEachClass(in: whole) { range, blockClass in
                guard blockClass != .free, !punched.equals(world.device, at: range.offset, length: range.length) else {
                    return
                }
                lost.append(range)
            }
            #expect(lost == [])
        }
        print("\(recipe): \(punchedBytes) bytes were punched in a copy, and nothing in use was lost")
        #expect(punchedBytes > 1 << 20)
    }
}
