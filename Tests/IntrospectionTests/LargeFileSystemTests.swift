import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// A file system of more than 2^32 blocks, made and filled by the real tools. Needs root and loop devices; the image is
/// on a tmpfs, since ext4 has no files of more than 16 TiB.
@Suite(.enabled(if: canMountImages)) struct LargeFileSystemTests {
    private static let blockSize = 4096
    /// 20 TiB: a fifth of it is beyond block 2^32.
    private static let size = 20 << 40
    private static let directories = 48

    /// The kernel spreads top-level directories over the whole disk.
    private static let filling =
        "for i in $(seq \(directories)); do mkdir $m/d$i; head -c $((i * 2000)) /dev/urandom > $m/d$i/f; done"

    @Test func blocksBeyond32BitsAreKnown() throws {
        try withTemporaryDirectory { directory in
            let (memory, mountPoint) = (directory + "/memory", directory + "/mounted")
            for path in [memory, mountPoint] {
                try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            }
            try runTool("mount", ["-t", "tmpfs", "-o", "size=1G", "tmpfs", memory])
            defer { _ = try? runTool("umount", [memory]) }
            let image = memory + "/image"
            try makeSparseFile(image, size: Self.size)
            try runTool(
                "mke2fs",
                ["-q", "-F", "-t", "ext4", "-b", "\(Self.blockSize)", "-i", "16777216"]
                    + ["-O", "64bit,^resize_inode", "-E", "lazy_itable_init=1,nodiscard", image])
            try runTool("mount", ["-o", "loop,noinit_itable,mb_optimize_scan=0", image, mountPoint])
            do {
                defer { _ = try? runTool("umount", [mountPoint]) }
                try runTool("sh", ["-c", "set -e; m=\(mountPoint)\n\(Self.filling)"])
            }
            try check(image)
        }
    }

    private func check(_ image: String) throws {
        let reader = DeviceReader(try FileDevice(path: image, access: .readOnly, mode: .buffered))
        let introspector = DiskIntrospector(name: "large", diskSize: reader.size)
        let start = ContinuousClock.now
        let report = try introspector.scan(reader, parallelism: 4)
        let memory = introspector.status.mapMemoryBytes
        print("scanned in \(ContinuousClock.now - start): \(report.bytesRead) bytes, a class map of \(memory) bytes")
        #expect(report.problems == [])
        #expect(introspector.status.fileSystems.first?.blockCount ?? 0 > 1 << 32)
        #expect(report.bytesRead < 1 << 30)
        #expect(memory < 256 << 20)

        // Where libext2fs says that the files are, and what it says of blocks all over the disk.
        let paths = (1...Self.directories).map { "/d\($0)/f" }
        let files = try blocks(of: paths, image)
        for (path, blocks) in zip(paths, files).suffix(8) {
            let last = try #require(blocks.last)
            let found = introspector.explain(offset: Int(last) * Self.blockSize, reader)
            #expect(found.path == ByteString(path) && found.blockClass == .data && found.block == last)
            #expect(found.fileOffset == (blocks.count - 1) * Self.blockSize)
            let places = try introspector.places(of: ByteString(path), volume: nil, reader)
            #expect(places.contains { $0.range.contains(ByteRange(offset: Int(last) * Self.blockSize, length: 1)) })
        }
        let parents = paths.map { String($0.dropLast(2)) }
        let far = try zip(parents, blocks(of: parents, image)).filter { $0.1.contains { $0 > 1 << 32 } }
        #expect(!far.isEmpty)
        for (path, blocks) in far.prefix(8) {
            let block = try #require(blocks.first)
            let found = introspector.explain(offset: Int(block) * Self.blockSize, reader)
            #expect(found.path == ByteString(path) && found.blockClass == .directory && found.block == block)
        }
        var random = SplitMix64(seed: 4)
        var near: [UInt64] = []
        for (_, blocks) in far.prefix(10) {
            for block in blocks { near += [block - 1, block, block + 1, block + 400] }
        }
        let beyond = 1 << 32..<UInt64(Self.size / Self.blockSize)
        let others = (0..<20).map { _ in UInt64.random(in: beyond, using: &random) }
        let said = try debugfs((near + others).map { "testb \($0)" }, image).filter { $0.hasPrefix("Block ") }
        #expect(said.count == near.count + others.count)
        for (block, answer) in zip(near + others, said) {
            let isFree = introspector.blockClass(at: Int(block) * Self.blockSize) == .free
            #expect(answer.hasPrefix("Block \(block) ") && answer.hasSuffix("not in use") == isFree, "\(answer)")
        }
    }

    /// The blocks of each of `paths` as libext2fs has them.
    private func blocks(of paths: [String], _ image: String) throws -> [[UInt64]] {
        let lines = try debugfs(paths.map { "blocks \($0)" }, image).filter { !$0.hasPrefix("debugfs") }
        #expect(lines.count == paths.count)
        return lines.map { $0.split(separator: " ").compactMap { UInt64($0) } }
    }

    /// What debugfs answers to `commands`, line by line.
    private func debugfs(_ commands: [String], _ image: String) throws -> [String] {
        let script = image + ".script"
        try Data(commands.map { $0 + "\n" }.joined().utf8).write(to: URL(fileURLWithPath: script))
        return try runTool("debugfs", ["-f", script, image]).split(separator: "\n").map(String.init)
    }
}
