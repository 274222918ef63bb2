import BlockStorage
import Glibc
import TestTools

// The fault model.
//
// - A write is seen by reads at once and durable only after a flush that succeeds.
// - A crash can come before, in the middle of and after every access. Of each sector that was written since the last
//   flush it leaves, independently of the others, any one of the versions written since, or the one before: writes are
//   lost, reordered and torn at sectors. A sector is never torn inside.
// - A write that fails (EIO, ENOSPC) may have written any of its sectors. A read that fails has read nothing.
// - A flush that fails makes some of what was written durable and forgets the rest, as Linux does with dirty pages:
//   reads still see it until the crash, and no later flush makes it durable. Every file descriptor that was open then
//   reports the failure once, at its own next flush.
// - Of a mirror one side, always the same, may rot: any sector of its ring changes at any time. Or it is an older copy of
//   itself when the server starts. Either side may not be there then, but the last one is while the other is bad.
// - One copy of the superblock of a device may rot.
// - The machine is one thread of control, but other clients' accesses come between: before every access to a device.

/// What all devices of one simulated machine share: the numbers from the seed, and when it crashes.
final class SimulatedMachine: @unchecked Sendable {
    /// An access after the crash: what it says does not matter, the program is dead.
    static let crash = StorageError(.system(ESHUTDOWN), operation: "access", device: "a machine that has crashed")

    var random: SplitMix64
    /// The accesses to go until the crash.
    var accessesToCrash = Int.max
    /// One of so many accesses fails; 0 for none.
    var failureInterval = 0
    private(set) var accessCount = 0
    private(set) var hasCrashed = false
    /// What other clients do before an access.
    var beforeAccess: () -> Void = {}

    init(seed: UInt64) {
        random = SplitMix64(seed: seed)
    }

    func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
    func oneIn(_ count: Int) -> Bool { below(count) == 0 }

    /// Lets others have their turn, then counts an access.
    ///
    /// - Returns: what is to happen to it.
    func access() -> Outcome {
        if !hasCrashed { beforeAccess() }
        guard !hasCrashed else { return .crashed }
        accessCount += 1
        accessesToCrash -= 1
        if accessesToCrash <= 0 {
            hasCrashed = true
            return .crashes
        }
        return failureInterval > 0 && oneIn(failureInterval) ? .fails : .succeeds
    }

    func restart() { hasCrashed = false }

    enum Outcome { case succeeds, fails, crashes, crashed }
}

/// A disk of 512-byte sectors, or a file on one, that behaves as the fault model says.
///
/// It holds the bytes from `base` on, so that small disks reach over the borders of large structures.
final class SimulatedDisk: @unchecked Sendable {
    static let sectorSize = 512

    let base: Int
    let machine: SimulatedMachine
    private(set) var failedFlushes = 0
    /// What reads see.
    private var seen: [UInt8]
    private var durable: [UInt8]
    /// The versions of sectors written since the last flush, oldest first.
    private var versions: [Int: [[UInt8]]] = [:]

    init(base: Int = 0, size: Int, machine: SimulatedMachine) {
        self.base = base
        self.machine = machine
        seen = [UInt8](repeating: 0, count: size)
        durable = seen
    }

    var end: Int { base + seen.count }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        switch machine.access() {
        case .crashed, .crashes: throw SimulatedMachine.crash
        case .fails: throw StorageError(.system(EIO), operation: "read", device: "simulated")
        case .succeeds: seen.withUnsafeBytes { copy($0, at: offset, to: buffer) }
        }
    }

    /// What a person sees who looks at the disk: no access that could fail.
    func peek(at offset: Int) -> UInt64 {
        seen.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset - base, as: UInt64.self) }
    }

    private func copy(_ bytes: UnsafeRawBufferPointer, at offset: Int, to buffer: UnsafeMutableRawBufferPointer) {
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset - base..<offset - base + buffer.count]))
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        precondition((offset | bytes.count) % Self.sectorSize == 0 && offset >= base && offset + bytes.count <= end)
        let outcome = machine.access()
        guard outcome != .crashed else { throw SimulatedMachine.crash }
        for start in stride(from: 0, to: bytes.count, by: Self.sectorSize) {
            if outcome != .succeeds, machine.oneIn(2) { continue }
            let place = offset - base + start
            let sector = UnsafeRawBufferPointer(rebasing: bytes[start..<start + Self.sectorSize])
            seen.withUnsafeMutableBytes { seen in
                UnsafeMutableRawBufferPointer(rebasing: seen[place..<place + Self.sectorSize]).copyMemory(from: sector)
            }
            versions[place / Self.sectorSize, default: []].append(Array(sector))
        }
        switch outcome {
        case .succeeds: return
        case .fails:
            throw StorageError(.system(machine.oneIn(2) ? EIO : ENOSPC), operation: "write", device: "simulated")
        case .crashes, .crashed: throw SimulatedMachine.crash
        }
    }

    func flush() throws(StorageError) {
        switch machine.access() {
        case .succeeds: keep { _ in true }
        case .crashed: throw SimulatedMachine.crash
        case .crashes:
            keep { _ in self.machine.oneIn(2) }
            throw SimulatedMachine.crash
        case .fails:
            failedFlushes += 1
            keep { _ in self.machine.oneIn(2) }
            versions.removeAll()
            throw StorageError(.system(EIO), operation: "flush", device: "simulated")
        }
    }

    /// Changes a sector from `start` on, durably: nobody wrote it.
    func rot(from start: Int) {
        rot(sector: (start - base) / Self.sectorSize + machine.below((end - start) / Self.sectorSize))
    }

    /// What is durable, to bring back later.
    struct Contents {
        fileprivate let bytes: [UInt8]
    }

    var contents: Contents {
        get { Contents(bytes: durable) }
        set {
            versions.removeAll()
            (durable, seen) = (newValue.bytes, newValue.bytes)
        }
    }

    /// Changes a sector, durably.
    func rot(sector: Int) {
        versions[sector] = nil
        let place = sector * Self.sectorSize + machine.below(Self.sectorSize)
        durable.replaceSubrange(
            sector * Self.sectorSize..<(sector + 1) * Self.sectorSize,
            with: seen[sector * Self.sectorSize..<(sector + 1) * Self.sectorSize])
        durable[place] ^= UInt8(1 << machine.below(8))
        seen[place] = durable[place]
    }

    /// Power returns: what was not durable is as the crash left it.
    func restart() {
        let mode = machine.below(4)
        for (sector, written) in versions.sorted(by: { $0.key < $1.key }) {
            let choice = mode == 0 ? written.count : mode == 1 ? 0 : machine.below(written.count + 1)
            if choice > 0 { store(written[choice - 1], sector) }
        }
        versions.removeAll()
        seen = durable
    }

    private func keep(_ isKept: (Int) -> Bool) {
        for (sector, written) in versions.sorted(by: { $0.key < $1.key }) where isKept(sector) {
            if let last = written.last { store(last, sector) }
            versions[sector] = nil
        }
    }

    private func store(_ bytes: [UInt8], _ sector: Int) {
        let place = sector * Self.sectorSize
        durable.withUnsafeMutableBytes { durable in
            bytes.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(rebasing: durable[place..<place + Self.sectorSize]).copyMemory(from: $0)
            }
        }
    }
}

/// A file descriptor of a simulated disk: each reports a failed flush once.
final class SimulatedFile: BlockDevice, @unchecked Sendable {
    let name = "simulated"
    let disk: SimulatedDisk
    private var reportedFailures: Int

    init(_ disk: SimulatedDisk) {
        self.disk = disk
        reportedFailures = disk.failedFlushes
    }

    var size: Int { disk.end }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try disk.read(into: buffer, at: offset)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try disk.write(bytes, at: offset)
    }

    func flush() throws(StorageError) {
        defer { reportedFailures = disk.failedFlushes }
        try disk.flush()
        guard disk.failedFlushes == reportedFailures else {
            throw StorageError(.system(EIO), operation: "flush", device: name)
        }
    }
}
