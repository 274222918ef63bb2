import BlockStorage
import FoundationEssentials
import HotPaths
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
    private let image: KnownImage

    init(image: KnownImage) {
        self.image = image
    }

    /// The costs of each class that the image has, free blocks last: notes of them make them pending.
    func costs(rounds: Int, writes: Int) throws -> [ClassCost] {
        try BlockClass.allCases.compactMap { blockClass in
            let offsets = image.offsets(of: blockClass)
            guard !offsets.isEmpty else { return nil }
            return try cost(blockClass, offsets, rounds: rounds, writes: writes)
        }
    }

    private func cost(_ blockClass: BlockClass, _ offsets: [Int], rounds: Int, writes: Int) throws -> ClassCost {
        let buffer = AlignedBuffer(count: KnownImage.blockSize)
        let bytes = UnsafeRawBufferPointer(buffer.bytes)
        try image.device.read(into: buffer.bytes, at: offsets[0])
        var classify: [Double] = []
        var note: [Double] = []
        var digest: [Double] = []
        for _ in 0..<rounds {
            var known = 0
            classify.append(time(writes) { known = image.classify(bytes, at: offsets, count: writes) })
            guard known >= writes else { throw TestBedError("blocks of class \(blockClass.name) became unknown") }
            var needsDigest = false
            note.append(time(writes) { needsDigest = image.note(bytes, at: offsets, count: writes) })
            if needsDigest { digest.append(try digestAll(min(writes, offsets.count))) }
        }
        return ClassCost(
            blockClass: blockClass.name, blocks: offsets.count, classifyNanoseconds: Spread(classify)?.median ?? 0,
            noteNanoseconds: Spread(note)?.median ?? 0, digestNanoseconds: Spread(digest)?.median)
    }

    /// Digests everything that was noted; nanoseconds for each of `count` blocks.
    private func digestAll(_ count: Int) throws -> Double {
        let begin = monotonicNanoseconds()
        let reader = DeviceReader(image.device)
        var result = image.introspector.digest(reader)
        while result.needsDigest, !result.needsRescan { result = image.introspector.digest(reader) }
        guard !result.needsRescan else { throw TestBedError("a digest of what was not changed wants a scan") }
        return Double(monotonicNanoseconds() - begin) / Double(count)
    }

    /// Nanoseconds that each of `count` takes, all of which `body` does.
    private func time(_ count: Int, _ body: () -> Void) -> Double {
        let begin = monotonicNanoseconds()
        body()
        return Double(monotonicNanoseconds() - begin) / Double(count)
    }
}
