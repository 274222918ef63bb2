import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// Whether this process may mount images, tried once.
let canMountImages: Bool = {
    guard geteuid() == 0 else { return false }
    let isMounted = try? withTemporaryDirectory { directory in
        try runTool("mke2fs", ["-q", "-F", directory + "/image", "1M"])
        try runTool("mount", ["-o", "loop", directory + "/image", directory])
        try runTool("umount", [directory])
        return true
    }
    return isMounted ?? false
}()

/// As ``LiveTruthTests``, with what Linux itself wrote: journals, lazily initialised groups, hash trees, shared
/// blocks of extended attributes, orphans. Needs root and loop devices.
@Suite(.serialized, .enabled(if: canMountImages)) struct KernelTruthTests {
    private static let recipes = [
        ImageRecipe(type: "ext2", blockSize: 1024, options: ["-I", "128"]),
        ImageRecipe(type: "ext3", blockSize: 4096, size: "300M", options: ["-I", "128"]),
        ImageRecipe(type: "ext3", blockSize: 1024),
        ImageRecipe(type: "ext4", blockSize: 1024, options: ["-E", "lazy_itable_init=1"]),
        ImageRecipe(type: "ext4", blockSize: 4096, size: "300M", options: ["-O", "ea_inode,inline_data"]),
        ImageRecipe(type: "ext4", blockSize: 2048, options: ["-O", "bigalloc,orphan_file", "-C", "16384"]),
    ]

    /// What the guest does between two looks at its disk; `$m` is where its file system is mounted.
    private static let steps = [
        """
        mkdir -p $m/a/b/c $m/wide $m/attributes
        for i in $(seq 400); do echo $i > "$m/wide/a file with a rather long name, so that blocks fill $i"; done
        for i in $(seq 40); do head -c $((i * 4000)) /dev/urandom > $m/a/b/$i; done
        """,
        """
        for i in $(seq 30); do
            echo x > $m/attributes/$i; setfattr -n user.same -v $(printf %0900d 0) $m/attributes/$i || true
            ln -s $(printf %0200d $i) $m/attributes/link$i
        done
        for i in $(seq 200); do printf x | dd of=$m/a/sparse bs=1 seek=$((i * 150000)) conv=notrunc status=none; done
        """,
        """
        rm -rf $m/wide $m/a/b/1* $m/attributes/1*
        for i in $(seq 300); do head -c 3000 /dev/urandom > $m/a/b/c/$i; done
        truncate -s 5000000 $m/a/sparse; mv $m/a/b/c $m/moved
        """,
        """
        for i in $(seq 20); do setfattr -n user.own -v $(printf %0700d $i) $m/attributes/2$i || true; done
        for i in $(seq 150); do printf x | dd of=$m/second bs=1 seek=$((i * 90000)) conv=notrunc status=none; done
        fallocate -l 6M $m/allocated || true
        exec 9> $m/orphan; head -c 900000 /dev/zero >&9; rm $m/orphan; rm -rf $m/a/sparse $m/deep
        """,
        "rm -rf $m/attributes $m/moved; mkdir $m/last; for i in $(seq 200); do mkdir $m/last/$i; done",
    ]

    /// The image before the work, after each step while it was mounted, and after it was unmounted.
    private static func stages(_ recipe: ImageRecipe) throws -> [DiskBytes] {
        var recipe = recipe
        if recipe.size == "300M" { recipe.size = "160M" }
        return try withImage(recipe) { image in
            let mountPoint = image + ".mounted"
            try FileManager.default.createDirectory(atPath: mountPoint, withIntermediateDirectories: true)
            var stages = [try DiskBytes(file: image)]
            try runTool("mount", ["-o", "loop,user_xattr", image, mountPoint])
            do {
                for step in steps {
                    try runTool("sh", ["-c", "set -e; m=\(mountPoint)\n\(step)\nsync -f $m; sync \(image)"])
                    stages.append(try DiskBytes(file: image))
                }
            } catch {
                _ = try? runTool("umount", [mountPoint])
                throw error
            }
            try runTool("umount", [mountPoint])
            stages.append(try DiskBytes(file: image))
            return stages
        }
    }

    @Test(arguments: recipes)
    func liveMapEqualsAFreshScan(_ recipe: ImageRecipe) throws {
        let stages = try Self.stages(recipe)
        for seed in UInt64(1)...4 {
            var random = SplitMix64(seed: seed)
            var world = try LiveWorld(stages[0])
            for (number, target) in stages.dropFirst().enumerated() {
                let unit = [512, 4096, 1024, recipe.blockSize][Int(seed) % 4]
                let digestEvery = [1_000_000, 100, 30, 9][Int(seed) % 4]
                try world.replay(to: target, unit: unit, digestEvery: digestEvery, &random)
                #expect(!world.outcome.needsRescan, "seed \(seed): \(world.introspector.status.staleReason ?? "")")
                let differences = try world.differences()
                #expect(differences == [], "seed \(seed), stage \(number), unit \(unit): \(differences)")
            }
        }
    }
}
