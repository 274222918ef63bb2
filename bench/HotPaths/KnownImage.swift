public import BlockStorage
public import Introspection
public import TestBed

/// An ext3 image that a ``DiskIntrospector`` knows, and the places of its blocks by class.
public final class KnownImage: Sendable {
    /// Bytes of a block.
    public static let blockSize = 4096
    /// Blocks of a class that are enough to defeat the processor's guesses.
    private static let mostBlocks = 4096

    /// The image.
    public let device: FileDevice
    /// What is known of it.
    public let introspector: DiskIntrospector
    private let blocks: [BlockClass: [Int]]

    /// Scans the image at `path`.
    public init(at path: String) throws {
        device = try FileDevice(path: path, access: .readOnly, mode: .buffered)
        introspector = DiskIntrospector(name: path, diskSize: device.size)
        let report = try introspector.scan(DeviceReader(device), parallelism: 4)
        guard report.status.state == .current else {
            throw TestBedError("\(path): the scan ended as \(report.status.state): \(report.problems)")
        }
        var generator = SeededGenerator(seed: 1)
        var blocks: [BlockClass: [Int]] = [:]
        introspector.forEachClass(in: ByteRange(offset: 0, length: device.size)) { run, blockClass in
            let offsets = stride(from: run.offset, to: run.end, by: Self.blockSize)
            blocks[blockClass, default: []] += offsets
        }
        // What these say is that the map is to be made anew.
        for blockClass in [BlockClass.superblock, .groupDescriptor, .unknown] { blocks[blockClass] = nil }
        self.blocks = blocks.mapValues { Array($0.shuffled(using: &generator).prefix(Self.mostBlocks)) }
    }

    /// Makes an image with some of everything, and more directories than a digest looks at in one go.
    public static func make(at path: String, in temporary: TemporaryDirectory) throws(TestBedError) -> String {
        let guest = try temporary.makeDirectory("guest")
        let script = """
            for directory in $(seq 500); do
                mkdir \(guest)/$directory
                for file in 1 2 3 4 5; do echo $directory $file > \(guest)/$directory/$file; done
            done
            dd if=/dev/urandom of=\(guest)/data bs=1M count=64 status=none
            """
        try run("sh", "-c", script)
        try run("mke2fs", "-q", "-F", "-t", "ext3", "-b", "\(blockSize)", "-d", guest, path, "256M")
        return path
    }

    /// Where blocks of a class are, in no order; empty when there are none.
    public func offsets(of blockClass: BlockClass) -> [Int] { blocks[blockClass] ?? [] }

    /// Asks for the class of the write of a block at each of `offsets`, so often in all; how many were known.
    @discardableResult
    public func classify(_ bytes: UnsafeRawBufferPointer, at offsets: [Int], count: Int) -> Int {
        var known = 0
        for index in 0..<count {
            introspector.forEachClass(ofWrite: bytes, at: offsets[index % offsets.count]) { _, found in
                known += found == .unknown ? 0 : 1
            }
        }
        return known
    }

    /// Takes note of such writes; whether any wants to be digested.
    @discardableResult
    public func note(_ bytes: UnsafeRawBufferPointer, at offsets: [Int], count: Int) -> Bool {
        var needsDigest = false
        for index in 0..<count {
            let outcome = introspector.recordWrite(bytes, at: offsets[index % offsets.count])
            needsDigest = needsDigest || outcome.needsDigest
        }
        return needsDigest
    }

    /// What introspection does for a write before it is answered, and the lookup that a read costs.
    var paths: [HotPath] {
        let written: [(HotPath.Kind, BlockClass)] = [(.classifiedData, .data), (.classifiedInodeTable, .inodeTable)]
        let writes = written.map { kind, blockClass in
            HotPath(kind) { [self] count in
                let buffer = AlignedBuffer(count: Self.blockSize)
                let bytes = UnsafeRawBufferPointer(buffer.bytes)
                try device.read(into: buffer.bytes, at: offsets(of: blockClass)[0])
                classify(bytes, at: offsets(of: blockClass), count: count)
                note(bytes, at: offsets(of: blockClass), count: count)
            }
        }
        let lookup = HotPath(.classOfBlock) { [self] count in
            let offsets = offsets(of: .directory)
            for index in 0..<count {
                guard introspector.blockClass(at: offsets[index % offsets.count]) == .directory else {
                    throw TestBedError("a directory's block is none")
                }
            }
        }
        return writes + [lookup]
    }
}
