import BlockStorage
import FoundationEssentials
import Introspection
import TestBed

/// What a write of one class costs introspection; times are for one block.
struct ClassCost: Codable {
    let blockClass: String
    /// Blocks of the class that were written, again and again.
    let blocks: Int
    /// What the class of a write is: asked before the page cache takes it.
    let classifyNanoseconds: Double
    /// Taking note of a write: before it is answered.
    let noteNanoseconds: Double
    /// Reading the block again and comparing it with what is known, in the background; nil for classes that need none.
    let digestNanoseconds: Double?

    /// The file in a directory of results: below it, since the files at its top are runs.
    static let file = "classifier/costs.json"
    static let heading = ["class", "blocks", "classify ns", "note ns", "digest ns a block"]

    /// In the order of ``heading``.
    var row: [String] {
        let times = [classifyNanoseconds, noteNanoseconds, digestNanoseconds].map { time in
            time.map { "\(Int($0.rounded()))" } ?? "-"
        }
        return [blockClass, "\(blocks)"] + times
    }

    /// What a directory of results has of them; empty when it has none.
    static func all(in results: String) -> [ClassCost] {
        guard let text = try? readText(of: "\(results)/\(file)") else { return [] }
        return (try? JSONDecoder().decode([ClassCost].self, from: Data(text.utf8))) ?? []
    }
}

/// Writes of whole blocks to a disk that an introspector knows.
struct ClassifierLoad {
    private static let blockSize = 4096
    /// Blocks of a class that are enough to defeat the processor's guesses.
    private static let mostBlocks = 4096

    private let device: FileDevice
    private let introspector: DiskIntrospector
    private let blocks: [BlockClass: [Int]]

    /// Scans the image.
    init(image: String) throws {
        device = try FileDevice(path: image, access: .readOnly, mode: .buffered)
        introspector = DiskIntrospector(name: image, diskSize: device.size)
        let report = try introspector.scan(DeviceReader(device), parallelism: 4)
        guard report.status.state == .current else {
            throw TestBedError("\(image): the scan ended as \(report.status.state): \(report.problems)")
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

    /// The costs of each class that the image has, free blocks last: notes of them make them pending.
    func costs(rounds: Int, writes: Int) throws -> [ClassCost] {
        try BlockClass.allCases.compactMap { blockClass in
            guard let offsets = blocks[blockClass], !offsets.isEmpty else { return nil }
            return try cost(blockClass, offsets, rounds: rounds, writes: writes)
        }
    }

    private func cost(_ blockClass: BlockClass, _ offsets: [Int], rounds: Int, writes: Int) throws -> ClassCost {
        let buffer = AlignedBuffer(count: Self.blockSize)
        let bytes = UnsafeRawBufferPointer(buffer.bytes)
        try device.read(into: buffer.bytes, at: offsets[0])
        var classify: [Double] = []
        var note: [Double] = []
        var digest: [Double] = []
        for _ in 0..<rounds {
            var known = 0
            classify.append(
                time(writes) { index in
                    let block = ByteRange(offset: offsets[index % offsets.count], length: Self.blockSize)
                    introspector.forEachClass(ofWrite: bytes, at: block.offset) { _, found in
                        known += found == .unknown ? 0 : 1
                    }
                })
            guard known >= writes else { throw TestBedError("blocks of class \(blockClass.name) became unknown") }
            var needsDigest = false
            note.append(
                time(writes) { index in
                    let outcome = introspector.recordWrite(bytes, at: offsets[index % offsets.count])
                    needsDigest = needsDigest || outcome.needsDigest
                })
            if needsDigest { digest.append(try digestAll(min(writes, offsets.count))) }
        }
        return ClassCost(
            blockClass: blockClass.name, blocks: offsets.count, classifyNanoseconds: Spread(classify)?.median ?? 0,
            noteNanoseconds: Spread(note)?.median ?? 0, digestNanoseconds: Spread(digest)?.median)
    }

    /// Digests everything that was noted; nanoseconds for each of `count` blocks.
    private func digestAll(_ count: Int) throws -> Double {
        let begin = monotonicNanoseconds()
        var result = introspector.digest(DeviceReader(device))
        while result.needsDigest, !result.needsRescan { result = introspector.digest(DeviceReader(device)) }
        guard !result.needsRescan else { throw TestBedError("a digest of what was not changed wants a scan") }
        return Double(monotonicNanoseconds() - begin) / Double(count)
    }

    /// Nanoseconds that `body` takes for one of `count`.
    private func time(_ count: Int, _ body: (Int) -> Void) -> Double {
        let begin = monotonicNanoseconds()
        for index in 0..<count { body(index) }
        return Double(monotonicNanoseconds() - begin) / Double(count)
    }
}
