import Glibc
import Synchronization
import TestBed

/// What an image that clients write to may hold, by what its server has acknowledged.
///
/// Version 0 of a block is what it was at first, which is zeros where the file may end. `@unchecked Sendable`: each
/// block is one thread's at a time.
final class PromisedImage: @unchecked Sendable {
    /// What a block may hold.
    struct Block {
        /// The versions that it may have, of which the first is on stable storage; with none, any.
        var possible: [UInt32] = [0]
        /// The version that was acknowledged last by the server that runs, nil while a WRITE is under way.
        var current: UInt32? = 0
    }

    /// The names that it has in turn.
    static let names = ["disk.img", "renamed.img"]

    let stamps: StampedBlocks
    /// Whether an error of a device may take what was acknowledged as unstable from a server that goes on.
    let mayLoseUnstable: Bool
    /// The image as it was at first.
    private let original: [UInt8]
    private let blocks: UnsafeMutableBufferPointer<Block>
    /// The lengths that the file may have, of which the first is on stable storage; in bytes, whole blocks.
    private(set) var possibleSizes: [Int]
    /// The names that the file may have, of which the first is on stable storage.
    var possibleNames = [names[0]]
    private let versions = Atomic<UInt32>(0)

    /// - Parameters:
    ///   - image: the file; whole blocks.
    ///   - room: bytes by which it may grow.
    init(_ image: String, room: Int, seed: UInt64, mayLoseUnstable: Bool) throws {
        original = try Self.contents(of: image)
        possibleSizes = [original.count]
        stamps = StampedBlocks(seed: seed)
        self.mayLoseUnstable = mayLoseUnstable
        blocks = .allocate(capacity: (original.count + room) / StampedBlocks.size)
        blocks.initialize(repeating: Block())
    }

    deinit {
        blocks.deinitialize().deallocate()
    }

    /// The file's length where it is known, in bytes.
    var size: Int? { possibleSizes.count == 1 ? possibleSizes[0] : nil }

    /// The bytes that the file may have at most.
    var mostBytes: Int { blocks.count * StampedBlocks.size }

    // MARK: What a client does

    /// A version that no block has had.
    func nextVersion() -> UInt32 { versions.add(1, ordering: .relaxed).newValue }

    /// A WRITE of `version` to some blocks goes out.
    func issue(_ version: UInt32, to range: Range<Int>) {
        for block in range {
            if !blocks[block].possible.isEmpty { blocks[block].possible.append(version) }
            blocks[block].current = nil
        }
    }

    /// A WRITE was answered.
    func acknowledge(_ version: UInt32, of range: Range<Int>, isStable: Bool) {
        for block in range { blocks[block].current = version }
        if isStable { settle(version, of: range) }
    }

    /// A version is on stable storage: those of the blocks have it or a newer one.
    func settle(_ version: UInt32, of range: Range<Int>) {
        for block in range {
            let possible = blocks[block].possible
            if let index = possible.firstIndex(of: version) {
                blocks[block].possible.removeFirst(index)
            } else if possible.isEmpty, blocks[block].current == version {
                blocks[block].possible = [version]
            }
        }
    }

    /// A change of the file's length goes out.
    func issue(size: Int) {
        possibleSizes.append(size)
        for block in size / StampedBlocks.size..<blocks.count {
            if !blocks[block].possible.isEmpty { blocks[block].possible.append(0) }
            blocks[block].current = nil
        }
    }

    /// A change of the file's length was acknowledged: from there on whoever makes it longer finds zeros.
    func acknowledge(size: Int) {
        possibleSizes = [size]
        for block in size / StampedBlocks.size..<blocks.count { blocks[block] = Block() }
    }

    /// A WRITE at the file's end goes out.
    func mayGrow(to size: Int) {
        if size != self.size { possibleSizes.append(size) }
    }

    /// It was acknowledged.
    func hasGrown(to size: Int) { possibleSizes = [size] }

    /// The server has ended: what it acknowledged as unstable may be gone.
    func serverEnded() {
        for block in blocks.indices { blocks[block].current = nil }
    }

    // MARK: What is found

    /// Compares `bytes`, which begin with the block `first`, with what the blocks may have, `isLive`: with what the
    /// server that runs must give.
    func check(_ bytes: UnsafeRawBufferPointer, from first: Int, isLive: Bool = false, _ place: String) -> Finding {
        var finding = Finding()
        for block in first..<first + bytes.count / StampedBlocks.size {
            let start = (block - first) * StampedBlocks.size
            let contents = UnsafeRawBufferPointer(rebasing: bytes[start..<start + StampedBlocks.size])
            let found = check(contents, of: block, allowed: isLive ? live(block) : blocks[block].possible, place)
            // Told once; the block counts again when it is written the next time.
            if !found.isGood { blocks[block] = Block(possible: [], current: nil) }
            finding += found
        }
        return finding
    }

    private func live(_ block: Int) -> [UInt32] {
        guard let current = blocks[block].current, !mayLoseUnstable || blocks[block].possible.first == current else {
            return blocks[block].possible
        }
        return [current]
    }

    private func check(
        _ contents: UnsafeRawBufferPointer, of block: Int, allowed: [UInt32], _ place: String
    ) -> Finding {
        var finding = Finding()
        guard !allowed.isEmpty else { return finding }
        finding.checked = StampedBlocks.size
        for index in 0..<StampedBlocks.sectors {
            let start = index * StampedBlocks.sectorSize
            let sector = UnsafeRawBufferPointer(rebasing: contents[start..<start + StampedBlocks.sectorSize])
            let version = stamps.version(of: sector, block: block, index: index)
            if let version, allowed.contains(version) { continue }
            let isOriginal = version == nil && isOriginal(sector, block: block, index: index)
            if isOriginal, allowed.contains(0) { continue }
            let found = version.map { "version \($0)" } ?? (isOriginal ? "version 0" : stamps.description(of: sector))
            finding.add(
                StampedBlocks.sectorSize, isOlder: isOriginal || version != nil,
                "\(place), block \(block), sector \(index): \(found) in place of \(allowed)")
        }
        return finding
    }

    private func isOriginal(_ sector: UnsafeRawBufferPointer, block: Int, index: Int) -> Bool {
        let start = block * StampedBlocks.size + index * StampedBlocks.sectorSize
        guard start < original.count else { return sector.allSatisfy { $0 == 0 } }
        return original.withUnsafeBytes { original in
            guard let own = original.baseAddress, let other = sector.baseAddress else { return false }
            return memcmp(own + start, other, StampedBlocks.sectorSize) == 0
        }
    }

    /// Compares the file at `path` with what was acknowledged.
    func check(file path: String, _ place: String) throws -> Finding {
        let bytes = try Self.contents(of: path)
        var finding = check(size: bytes.count, place)
        finding += bytes.withUnsafeBytes { check($0, from: 0, place) }
        return finding
    }

    /// Compares a length of the file with those that it may have; it counts from then on.
    func check(size: Int, _ place: String) -> Finding {
        var finding = Finding()
        if !possibleSizes.contains(size) {
            finding.add(StampedBlocks.size, isOlder: false, "\(place): \(size) bytes long in place of \(possibleSizes)")
        }
        possibleSizes = [size]
        return finding
    }

    private static func contents(of path: String) throws(TestBedError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw TestBedError.lastSystemError("look at \(path)") }
        var bytes = [UInt8](repeating: 0, count: status.st_size)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeMutableBytes { buffer in
                pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, done)
            }
            guard count > 0 else { throw TestBedError.lastSystemError("read \(path)") }
            done += count
        }
        return bytes
    }
}

/// What a look at an image has found.
struct Finding {
    /// Bytes that were compared.
    var checked = 0
    /// Bytes that are older than what was acknowledged.
    private(set) var missing = 0
    /// Bytes that no client wrote there, or that could not be read.
    private(set) var wrong = 0
    /// The first of them, in words.
    private(set) var example: String?

    var isGood: Bool { missing == 0 && wrong == 0 }

    mutating func add(_ bytes: Int, isOlder: Bool, _ words: @autoclosure () -> String) {
        if isOlder { missing += bytes } else { wrong += bytes }
        if example == nil { example = words() }
    }

    static func += (left: inout Finding, right: Finding) {
        left.checked += right.checked
        left.missing += right.missing
        left.wrong += right.wrong
        left.example = left.example ?? right.example
    }
}
