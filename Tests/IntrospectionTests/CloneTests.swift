import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// Images cloned from one share what is the same of their maps and object indexes, and differ only where they differ.
@Suite struct CloneTests {
    /// The buffers of a disk's map and index, each with its size.
    private static func buffers(_ world: LiveWorld) -> [UnsafeRawPointer: Int] {
        var buffers: [UnsafeRawPointer: Int] = [:]
        func add(_ bytes: UnsafeRawBufferPointer) {
            if let start = bytes.baseAddress, bytes.count > 8 { buffers[start] = bytes.count }
        }
        func add<Element>(_ sorted: SortedChunks<Element>) {
            for chunk in sorted.chunks { chunk.withUnsafeBytes(add) }
        }
        world.introspector.state.withLock { state in
            for fileSystem in state.fileSystems {
                let parts = LiveFileSystem.Parts(fileSystem)
                for chunk in parts.allocation.chunks { chunk.withUnsafeBytes(add) }
                parts.fixed.withUnsafeBytes(add)
                parts.descriptors.withUnsafeBytes(add)
                add(parts.dynamic)
                add(parts.owners)
                add(parts.digests)
            }
        }
        world.introspector.objects.withLock { indexes in
            for index in indexes.ofFileSystem.compactMap({ $0 }) {
                add(index.extents)
                add(index.owners)
                add(index.parents)
                add(index.children)
            }
        }
        return buffers
    }

    /// Bytes of `world` that are not those of `others`.
    private static func ownBytes(_ world: LiveWorld, beside others: [LiveWorld]) -> Int {
        let known = others.map(buffers)
        return buffers(world).reduce(0) { sum, buffer in
            known.contains { $0[buffer.key] != nil } ? sum : sum + buffer.value
        }
    }

    @Test(arguments: [ImageRecipe(type: "ext3", blockSize: 1024), ImageRecipe(type: "ext4", blockSize: 1024)])
    func clonesShareWhatIsTheSame(_ recipe: ImageRecipe) throws {
        let (before, after) = try withImage(recipe) { image in
            let before = try DiskBytes(file: image)
            try runTool("debugfs", ["-w", "-R", "rm /deep/sparse", image])
            try runTool("debugfs", ["-w", "-R", "mkdir /new", image])
            return (before, try DiskBytes(file: image))
        }
        let first = try LiveWorld(before)
        _ = first.introspector.explain(offset: before.size / 2, first.reader)
        let alone = Self.ownBytes(first, beside: [])
        var clones: [LiveWorld] = []
        for _ in 0..<4 {
            let clone = try LiveWorld(before)
            _ = clone.introspector.explain(offset: before.size / 2, clone.reader)
            #expect(Self.ownBytes(clone, beside: [first]) == 0)
            clones.append(clone)
        }
        var random = SplitMix64(seed: 3)
        try clones[0].replay(to: after, unit: recipe.blockSize, digestEvery: 20, &random)
        _ = clones[0].introspector.explain(offset: before.size / 2, clones[0].reader)
        let diverged = Self.ownBytes(clones[0], beside: [first])
        print("\(recipe): \(alone) bytes alone, 0 for each clone, \(diverged) after one has changed")
        #expect(diverged > 0 && diverged < alone)
        #expect(try first.differences() == [])
        for clone in clones { #expect(try clone.differences() == []) }
        // A clone of what one has become finds that one.
        let late = try LiveWorld(after)
        #expect(Self.ownBytes(late, beside: [first] + clones) < alone / 2)
        #expect(try late.differences() == [])
    }
}
