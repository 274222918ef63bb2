import BlockStorage
import Foundation
import Synchronization
import TestTools

/// A disk in memory that real tools made, for fuzzers to scribble on.
///
/// A fuzzer that had to invent a superblock would never get past it. Its input is a list of patches instead: two
/// bytes of place, one of offset and length, then the bytes. A place counts only those 64-byte pieces of the disk that
/// are near something, so that every patch hits a structure.
final class PatchedDisk: BlockDevice {
    /// How many bytes a place names.
    static let pieceSize = 64
    /// All pieces of this many bytes are places if one of them holds anything.
    private static let neighbourhood = 1024

    /// A change of the disk.
    struct Patch {
        /// The first byte that changes.
        let offset: Int
        /// What it and those after it become.
        let bytes: [UInt8]
    }

    /// The name that error messages use.
    let name: String
    /// The size in bytes.
    var size: Int { memory.size }
    /// The first bytes of the pieces that patches may hit, sorted.
    let pieces: [Int]
    private let memory: MemoryDevice
    /// What was overwritten since the last reset, in order.
    private let overwritten = Mutex<[Patch]>([])

    /// The disk of that name in `Fixtures/corpus/disks`, in the format that `Fuzz/make-disks` describes.
    init(named name: String) {
        self.name = name
        do {
            let file = [UInt8](try Data(contentsOf: FuzzTarget.corpora.appending(path: "disks/\(name)")))
            memory = MemoryDevice(size: Int(file.number(at: 0, count: 8)))
            var neighbourhoods: Set<Int> = []
            for record in stride(from: 8, to: file.count, by: 4 + Self.pieceSize) {
                let offset = Int(file.number(at: record, count: 4)) * Self.pieceSize
                try memory.write(Array(file[record + 4..<record + 4 + Self.pieceSize]), at: offset)
                neighbourhoods.insert(offset / Self.neighbourhood)
            }
            pieces = neighbourhoods.sorted().flatMap { number in
                stride(from: 0, to: Self.neighbourhood, by: Self.pieceSize).map { number * Self.neighbourhood + $0 }
            }
        } catch {
            fatalError("\(name): \(error)")
        }
    }

    /// The patches that a fuzzer's input names.
    func patches(_ input: Slice<UnsafeRawBufferPointer>) -> [Patch] {
        var rest = input
        var patches: [Patch] = []
        while rest.count > 3, let low = rest.popFirst(), let high = rest.popFirst(), let shape = rest.popFirst() {
            let piece = pieces[(Int(low) | Int(high) << 8) % pieces.count]
            let offset = piece + Int(shape >> 4) * 4
            let bytes = rest.prefix(min(Int(shape & 15) + 1, size - offset))
            patches.append(Patch(offset: offset, bytes: Array(bytes)))
            rest = rest.dropFirst(bytes.count)
        }
        return patches
    }

    /// Makes the disk what the tools made, then lays `patches` over it.
    func reset(applying patches: some Sequence<Patch>) {
        let undo = overwritten.withLock { overwritten in
            defer { overwritten.removeAll(keepingCapacity: true) }
            return overwritten
        }
        for patch in undo.reversed() {
            try? memory.write(patch.bytes, at: patch.offset)
        }
        for patch in patches {
            try? write(patch.bytes, at: patch.offset)
        }
    }

    /// Fills `buffer` from `offset`.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try memory.read(into: buffer, at: offset)
    }

    /// Writes `bytes` at `offset`, until the next reset.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        let before = Patch(offset: offset, bytes: try memory.read(ByteRange(offset: offset, length: bytes.count)))
        overwritten.withLock { $0.append(before) }
        try memory.write(bytes, at: offset)
    }

    /// Does nothing: nothing survives the process.
    func flush() {}
}
