import BlockStorage
import Foundation
import TestBed
import TestTools

@testable import Introspection

/// The writes of a real kernel to a disk, in the order in which they arrived there.
struct GuestTrace {
    struct Write {
        var offset: Int
        var bytes: Range<Int>
    }

    let initial: DiskBytes
    private(set) var writes: [Write] = []
    /// The number of writes at each moment when everything had been written in place.
    private(set) var quietPoints: [Int] = []
    private let log: Data

    /// Mounts an image that `recipe` makes, runs each of `steps` with `$m` for the mount point, and a sync after it.
    static func record(_ recipe: ImageRecipe, options: String, steps: [String]) throws -> GuestTrace {
        try withImage(recipe) { image in
            let initial = try DiskBytes(file: image)
            let (disk, mountPoint, log) = (image + ".disk", image + ".mounted", image + ".log")
            for directory in [disk, mountPoint] {
                try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            }
            var configuration = DiskServer.Configuration(
                mountPoint: disk, size: initial.size, backingFile: image, drive: .instant(capacity: initial.size),
                isTiming: false)
            configuration.writeLog = log
            let server = try DiskServer(configuration)
            let thread = Foundation.Thread { try? server.run() }
            thread.start()
            defer { _ = try? runTool("umount", [disk]) }
            for _ in 0..<200 where !FileManager.default.fileExists(atPath: disk + "/disk") { usleep(50_000) }
            let loop = try runTool("losetup", ["--find", "--show", "--direct-io=on", disk + "/disk"])
                .trimmingCharacters(in: .whitespacesAndNewlines)
            defer { _ = try? runTool("losetup", ["--detach", loop]) }
            var sizes: [Int] = []
            try runTool("mount", ["-t", recipe.type, "-o", options, loop, mountPoint])
            do {
                defer { _ = try? runTool("umount", [mountPoint]) }
                for step in steps {
                    try runTool("sh", ["-c", "set -e; m=\(mountPoint)\n\(step)\nsync -f $m"])
                    sizes.append(try FileManager.default.attributesOfItem(atPath: log)[.size] as? Int ?? 0)
                }
            }
            return GuestTrace(initial: initial, log: try Data(contentsOf: URL(fileURLWithPath: log)), sizes: sizes)
        }
    }

    private init(initial: DiskBytes, log: Data, sizes: [Int]) {
        self.initial = initial
        self.log = log
        var sizes = sizes[...]
        var position = 0
        log.withUnsafeBytes { bytes in
            while position + 16 <= bytes.count {
                while let size = sizes.first, size <= position {
                    quietPoints.append(writes.count)
                    sizes = sizes.dropFirst()
                }
                let offset = Int(bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
                let length = Int(bytes.loadUnaligned(fromByteOffset: position + 8, as: UInt64.self))
                writes.append(Write(offset: offset, bytes: position + 16..<position + 16 + length))
                position += 16 + length
            }
        }
    }

    /// Calls `body` with the bytes of `write`.
    func withBytes<Result>(of write: Write, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try log.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[write.bytes])) }
    }
}
