import CLinux
import Glibc
import Synchronization

/// Where the modelled disk's bytes really are: a sparse file, or memory that grows as it is written.
///
/// Blocks of zeros take no room, so that a disk full of files whose contents do not matter costs little. What was
/// overwritten after ``takeSnapshot()`` is kept, and ``restoreSnapshot()`` puts it back: the cheap way to the very same
/// disk for the next run. In the same way ``loseUnflushed(seed:)`` puts back what was there before the last
/// ``flush()``, as a power failure does to a disk with a buffer.
final class BackingStore: Sendable {
    /// Bytes are kept and given back by blocks of this size.
    private static let blockSize = 4096

    let size: Int
    private let descriptor: Int32
    private let name: String
    private let snapshot = Mutex<Snapshot?>(nil)
    private let unflushed = Mutex<Snapshot?>(nil)

    /// Opens or makes the sparse file at `path`, or takes memory when there is no path.
    init(path: String?, size: Int) throws(TestBedError) {
        name = path ?? "memory for the disk"
        descriptor = path.map { open($0, O_RDWR | O_CREAT | O_CLOEXEC, 0o600) } ?? linux_memfd_create("disk-model")
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(name)") }
        guard ftruncate(descriptor, size) == 0 else {
            let error = TestBedError.lastSystemError("set the size of \(name) to \(size) bytes")
            close(descriptor)
            throw error
        }
        self.size = size
    }

    deinit {
        close(descriptor)
    }

    /// Reads what lies inside the disk; the number of bytes, or the negative `errno`.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
        guard offset >= 0, offset < size else { return 0 }
        let count = pread(descriptor, buffer.baseAddress, min(buffer.count, size - offset), offset)
        return count < 0 ? -Int(errno) : count
    }

    /// Writes what lies inside the disk; the number of bytes, or the negative `errno`.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
        guard offset >= 0, offset < size else { return -Int(ENOSPC) }
        let count = min(bytes.count, size - offset)
        let range = offset..<offset + count
        var status = snapshot.withLock { $0?.keep(range, of: descriptor) ?? 0 }
        if status == 0 { status = unflushed.withLock { $0?.keep(range, of: descriptor) ?? 0 } }
        guard status == 0 else { return -Int(status) }
        return Self.put(UnsafeRawBufferPointer(rebasing: bytes[..<count]), into: descriptor, at: offset)
    }

    /// Remembers the disk as it is now, in place of an earlier snapshot.
    func takeSnapshot() throws(TestBedError) {
        let descriptor = try memory("disk-snapshot")
        snapshot.withLock { $0 = Snapshot(descriptor: descriptor) }
    }

    private func memory(_ purpose: String) throws(TestBedError) -> Int32 {
        let descriptor = linux_memfd_create(purpose)
        guard descriptor >= 0, ftruncate(descriptor, size) == 0 else {
            throw TestBedError.lastSystemError("memory for \(purpose) of \(name)")
        }
        return descriptor
    }

    /// Remembers from now on what is overwritten between two flushes.
    func becomeVolatile() throws(TestBedError) {
        let descriptor = try memory("disk-unflushed")
        unflushed.withLock { $0 = Snapshot(descriptor: descriptor) }
    }

    /// Nothing that was written so far can be lost.
    func flush() {
        unflushed.withLock { $0?.forget() }
    }

    /// Loses what was written since the last flush: all of it, or half of its blocks, or half of its sectors.
    func loseUnflushed(seed: UInt64) throws(TestBedError) {
        var generator = SeededGenerator(seed: seed)
        let granularity = [0, Self.blockSize, 512][Int.random(in: 0..<3, using: &generator)]
        let status = unflushed.withLock { unflushed in
            unflushed?.putBack(into: descriptor, granularity: granularity, using: &generator) ?? 0
        }
        guard status == 0 else { throw TestBedError("lose what \(name) had: \(String(cString: strerror(status)))") }
    }

    /// Makes the disk what it was at the snapshot, which stays; nobody may use it meanwhile.
    func restoreSnapshot() throws(TestBedError) {
        let failure = snapshot.withLock { (snapshot) -> TestBedError? in
            guard snapshot != nil else { return TestBedError("there is no snapshot of \(name)") }
            let status = snapshot?.putBack(into: descriptor) ?? 0
            return status == 0 ? nil : TestBedError("restore \(name): \(String(cString: strerror(status)))")
        }
        if let failure { throw failure }
    }

    /// Writes bytes, or makes a hole where they are zeros in whole blocks.
    private static func put(_ bytes: UnsafeRawBufferPointer, into descriptor: Int32, at offset: Int) -> Int {
        let isWhole = offset % blockSize == 0 && bytes.count % blockSize == 0
        let isHole =
            isWhole && isZero(bytes) && linux_punch_hole(descriptor, offset, bytes.count) == 0
        let count = isHole ? bytes.count : pwrite(descriptor, bytes.baseAddress, bytes.count, offset)
        return count < 0 ? -Int(errno) : count
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let start = bytes.baseAddress, bytes.count > 1 else { return bytes.allSatisfy { $0 == 0 } }
        return bytes[0] == 0 && memcmp(start, start + 1, bytes.count - 1) == 0
    }

    /// The blocks written since a snapshot, as they were.
    private struct Snapshot: ~Copyable {
        /// Holds them, each at its own place.
        let descriptor: Int32
        private var kept: Set<Int> = []

        init(descriptor: Int32) {
            self.descriptor = descriptor
        }

        deinit {
            close(descriptor)
        }

        /// Keeps those blocks of `range` that are not kept yet; 0 or the error number.
        mutating func keep(_ range: Range<Int>, of disk: Int32) -> Int32 {
            for block in range.lowerBound / blockSize..<(range.upperBound + blockSize - 1) / blockSize
            where kept.insert(block).inserted {
                let status = Self.copy(block, from: disk, to: descriptor)
                guard status == 0 else { return status }
            }
            return 0
        }

        /// Puts all back, and begins anew; 0 or the error number.
        mutating func putBack(into disk: Int32) -> Int32 {
            for block in kept.sorted() {
                let status = Self.copy(block, from: descriptor, to: disk)
                guard status == 0 else { return status }
            }
            forget()
            return 0
        }

        /// Puts half of the pieces of `granularity` bytes back, all with 0, and begins anew; 0 or the error number.
        mutating func putBack(
            into disk: Int32, granularity: Int, using generator: inout SeededGenerator
        ) -> Int32 {
            guard granularity > 0 else { return putBack(into: disk) }
            for block in kept.sorted() {
                // No ext4 survives a superblock of two halves: it is two sectors long, with one checksum.
                let piece = block == 0 ? blockSize : granularity
                for offset in stride(from: 0, to: blockSize, by: piece) where Bool.random(using: &generator) {
                    let status = Self.copy(block * blockSize + offset, length: piece, from: descriptor, to: disk)
                    guard status == 0 else { return status }
                }
            }
            forget()
            return 0
        }

        mutating func forget() {
            kept.removeAll(keepingCapacity: true)
        }

        private static func copy(_ block: Int, from source: Int32, to target: Int32) -> Int32 {
            copy(block * blockSize, length: blockSize, from: source, to: target)
        }

        private static func copy(_ offset: Int, length: Int, from source: Int32, to target: Int32) -> Int32 {
            withUnsafeTemporaryAllocation(byteCount: length, alignment: 16) { buffer in
                let count = pread(source, buffer.baseAddress, length, offset)
                guard count >= 0 else { return errno }
                let written = BackingStore.put(
                    UnsafeRawBufferPointer(rebasing: buffer[..<count]), into: target, at: offset)
                return written < 0 ? Int32(-written) : 0
            }
        }
    }
}
