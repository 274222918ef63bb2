import BlockStorage
import Foundation
import Synchronization
import TestTools
import Testing

@testable import Introspection

/// The bytes of a disk, which compare and copy quickly in debug builds too.
final class DiskBytes: BlockDevice, @unchecked Sendable {
    let name = "disk"
    let buffer: AlignedBuffer
    private let lock = Mutex(())

    init(file path: String) throws {
        let device = try FileDevice(path: path, access: .readOnly, mode: .buffered)
        buffer = AlignedBuffer(count: device.size)
        try device.read(into: buffer.bytes, at: 0)
    }

    init(size: Int) {
        buffer = AlignedBuffer(count: size)
    }

    init(copying other: DiskBytes) {
        buffer = AlignedBuffer(count: other.size)
        buffer.bytes.copyMemory(from: UnsafeRawBufferPointer(other.buffer.bytes))
    }

    var size: Int { buffer.count }

    func slice(_ offset: Int, _ length: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: buffer.bytes[offset..<offset + length])
    }

    func equals(_ other: DiskBytes, at offset: Int, length: Int) -> Bool {
        guard let own = slice(offset, length).baseAddress, let others = other.slice(offset, length).baseAddress else {
            return true
        }
        return memcmp(own, others, length) == 0
    }

    func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) {
        lock.withLock { _ in target.copyMemory(from: slice(offset, target.count)) }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        lock.withLock { _ in
            UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[offset..<offset + bytes.count])
                .copyMemory(from: bytes)
        }
    }

    func flush() {}
}

/// A disk in memory and the introspector that is told of every write to it.
struct LiveWorld {
    let device: DiskBytes
    let introspector: DiskIntrospector
    let reader: DeviceReader
    var outcome = WriteOutcome.nothing

    /// Scans a copy of `bytes`.
    init(_ bytes: DiskBytes) throws {
        device = DiskBytes(copying: bytes)
        introspector = DiskIntrospector(name: "disk", diskSize: bytes.size)
        reader = DeviceReader(device)
        _ = try introspector.scan(reader, parallelism: 1)
    }

    /// Writes, and tells the introspector.
    mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        device.write(bytes, at: offset)
        record(bytes, at: offset)
    }

    /// Writes, and tells the introspector.
    mutating func write(_ bytes: [UInt8], at offset: Int) {
        bytes.withUnsafeBytes { write($0, at: offset) }
    }

    /// Tells the introspector of a write that has been made.
    mutating func record(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        let result = introspector.recordWrite(bytes, at: offset)
        outcome.needsDigest = outcome.needsDigest || result.needsDigest
        outcome.needsRescan = outcome.needsRescan || result.needsRescan
        outcome.needsReview = outcome.needsReview || result.needsReview
    }

    /// Makes the disk that of `target`, in writes cut and joined at random and in random order; but for the journal,
    /// which is written first: as a whole if at all, since what a guest writes there may be what was there before.
    mutating func replay(
        to target: DiskBytes, unit: Int, digestEvery count: Int, _ random: inout SplitMix64
    ) throws {
        var journal: [ByteRange] = []
        introspector.forEachClass(in: ByteRange(offset: 0, length: device.size)) {
            if $1 == .journal { journal.append($0) }
        }
        let writes = writesThatMake(from: device, to: target, unit: unit, journal: journal, &random)
        for (index, write) in writes.enumerated() {
            self.write(target.slice(write.offset, write.length), at: write.offset)
            if index % count == count - 1 { digest() }
        }
        digest()
        #expect(device.equals(target, at: 0, length: target.size))
    }

    /// Digests until nothing is left to digest.
    @discardableResult
    mutating func digest() -> DigestResult {
        var result = introspector.digest(reader)
        for _ in 0..<100 where result.needsDigest {
            let next = introspector.digest(reader)
            result.changes += next.changes
            result.needsDigest = next.needsDigest
            result.needsRescan = next.needsRescan
            result.needsReview = next.needsReview
        }
        outcome.needsRescan = outcome.needsRescan || result.needsRescan
        outcome.needsReview = outcome.needsReview || result.needsReview
        return result
    }

    /// Where the live map differs from a fresh scan of the disk, in words, some of it.
    ///
    /// A block that was written and is claimed by nothing is pending to the one and free to the other.
    func differences() throws -> [String] {
        try Self.differences(of: introspector, from: device)
    }

    /// Where the map of `introspector` differs from a fresh scan of `device`.
    static func differences(of introspector: DiskIntrospector, from device: DiskBytes) throws -> [String] {
        let fresh = DiskIntrospector(name: "fresh", diskSize: device.size)
        _ = try fresh.scan(DeviceReader(device), parallelism: 1)
        var lines: [String] = []
        fresh.forEachClass(in: ByteRange(offset: 0, length: device.size)) { range, expected in
            introspector.forEachClass(in: range) { part, live in
                if live == expected || live == .pending && expected == .free { return }
                if lines.count < 20 { lines.append("\(part): \(live.name), a scan says \(expected.name)") }
            }
        }
        return lines
    }
}

/// One write of a replay.
private struct ReplayedWrite {
    var offset: Int
    var length: Int
}

/// The writes that make `new` of `old`, cut and joined at random and in random order.
private func writesThatMake(
    from old: DiskBytes, to new: DiskBytes, unit: Int, journal: [ByteRange], _ random: inout SplitMix64
) -> [ReplayedWrite] {
    var dirty: [Int] = []
    var journalled: [Int] = []
    var hasNewJournal = false
    for offset in stride(from: 0, to: new.size, by: unit) {
        let isDirty = !old.equals(new, at: offset, length: min(unit, new.size - offset))
        if journal.contains(where: { $0.overlaps(ByteRange(offset: offset, length: unit)) }) {
            journalled.append(offset)
            hasNewJournal = hasNewJournal || isDirty
        } else if isDirty {
            dirty.append(offset)
        }
    }
    let inPlace = writes(of: dirty, unit: unit, size: new.size, &random).shuffled(using: &random)
    return (hasNewJournal ? writes(of: journalled, unit: unit, size: new.size, &random) : []) + inPlace
}

/// Writes of the units at the offsets `dirty`, with neighbours joined at random.
private func writes(of dirty: [Int], unit: Int, size: Int, _ random: inout SplitMix64) -> [ReplayedWrite] {
    var writes: [ReplayedWrite] = []
    var index = 0
    while index < dirty.count {
        // Neighbours go together more often than not, as a guest's kernel sends them.
        var end = index + 1
        while end < dirty.count, dirty[end] == dirty[end - 1] + unit, Int.random(in: 0..<5, using: &random) > 0 {
            end += 1
        }
        let offset = dirty[index]
        writes.append(ReplayedWrite(offset: offset, length: min(dirty[end - 1] + unit, size) - offset))
        index = end
    }
    return writes
}
