import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// A file system that mke2fs makes of a tree of files.
struct ImageRecipe: CustomTestStringConvertible, Sendable {
    var type: String
    var blockSize: Int
    var size = "64M"
    var options: [String] = []

    var testDescription: String { "\(type) \(blockSize) \(size) \(options.joined(separator: " "))" }

    /// Every member of the family with every usual block size, and the features that move things.
    static let all = [
        ImageRecipe(type: "ext2", blockSize: 1024),
        ImageRecipe(type: "ext2", blockSize: 4096, options: ["-I", "128"]),
        ImageRecipe(type: "ext3", blockSize: 1024),
        ImageRecipe(type: "ext3", blockSize: 2048, options: ["-N", "9000"]),
        ImageRecipe(type: "ext3", blockSize: 4096, size: "300M"),
        ImageRecipe(type: "ext4", blockSize: 1024),
        ImageRecipe(type: "ext4", blockSize: 2048),
        ImageRecipe(type: "ext4", blockSize: 4096, size: "300M"),
        ImageRecipe(type: "ext4", blockSize: 1024, options: ["-O", "meta_bg,^resize_inode,^flex_bg"]),
        ImageRecipe(type: "ext4", blockSize: 1024, options: ["-O", "sparse_super2,mmp"]),
        ImageRecipe(type: "ext4", blockSize: 1024, options: ["-O", "bigalloc", "-C", "8192"]),
        ImageRecipe(type: "ext4", blockSize: 4096, options: ["-O", "^metadata_csum,uninit_bg,inline_data"]),
        ImageRecipe(type: "ext4", blockSize: 1024, options: ["-O", "quota,orphan_file,ea_inode"]),
    ]

    /// Makes the image of `tree` at `path`.
    func make(_ path: String, tree: String) throws {
        try runTool(
            "mke2fs", ["-q", "-F", "-t", type, "-b", "\(blockSize)", "-d", tree] + options + [path, size])
    }
}

/// Files that need every kind of metadata: sparse ones with blocks far apart, a directory of many names, long
/// symbolic links, attributes beside the inode.
func makeTree(_ path: String) throws {
    let files = FileManager.default
    try files.createDirectory(atPath: path + "/many", withIntermediateDirectories: true)
    try files.createDirectory(atPath: path + "/deep/er/still", withIntermediateDirectories: true)
    for number in 0..<600 {
        let name = "\(path)/many/a file with a name long enough to need blocks \(number)"
        try Data("\(number)".utf8).write(to: URL(fileURLWithPath: name))
    }
    // Far apart enough for a triple indirect block with 1 KiB, a double one with 4 KiB.
    for (name, step, count) in [("sparse", 70_000, 300), ("far", 17_000_000, 5), ("dense", 4096, 200)] {
        _ = files.createFile(atPath: "\(path)/deep/\(name)", contents: nil)
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: "\(path)/deep/\(name)"))
        for index in 0..<count {
            try handle.seek(toOffset: UInt64(index * step))
            try handle.write(contentsOf: Data(repeating: UInt8(index & 127 | 1), count: 4096))
        }
        try handle.close()
    }
    try files.createSymbolicLink(
        atPath: path + "/deep/er/long", withDestinationPath: String(repeating: "x/", count: 60))
    try files.createSymbolicLink(atPath: path + "/deep/er/short", withDestinationPath: "x")
}

/// Makes an image of each recipe's file system in a directory that is gone afterwards.
func withImage<Result>(_ recipe: ImageRecipe, _ body: (String) throws -> Result) throws -> Result {
    try withTemporaryDirectory { directory in
        try makeTree(directory + "/tree")
        try recipe.make(directory + "/image", tree: directory + "/tree")
        return try body(directory + "/image")
    }
}
