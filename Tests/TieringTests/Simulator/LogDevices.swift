import BlockStorage
import Glibc

@testable import Tiering

/// The devices of one log, or of its mirror's two sides, and what is on record about it elsewhere.
final class LogDevices: @unchecked Sendable {
    private static let blockSize = SimulatedDisk.sectorSize

    private let machine: SimulatedMachine
    private let disks: [SimulatedDisk]
    /// Whether the last side rots.
    private let rots: Bool
    private var identity: UInt128 = 0
    /// Whether the log does not count any more: durable as soon as it is said.
    private(set) var isVoid = false

    /// The last side as it was some time ago, if that is a mirror's and does not rot.
    private var copy: SimulatedDisk.Contents?
    /// Whether the last side has everything, as far as rot and older copies go.
    private var isLastGood = true
    /// The side that was there alone at a start, until both have been.
    private var survivor: Int?
    /// The images that have everything themselves, whatever the log has.
    private var overtaken: Set<ImageIdentity> = []
    /// Whether a superblock has rotted since both copies were written.
    private var hasRottenSuperblock = false

    init(size: Int, isMirrored: Bool, rots: Bool, machine: SimulatedMachine) {
        self.machine = machine
        self.rots = rots
        disks = (0..<(isMirrored ? 2 : 1)).map { _ in SimulatedDisk(size: size, machine: machine) }
    }

    /// Makes a new log, which has nothing to do with the one before.
    func format() throws(StorageError) {
        identity += 1000
        copy = nil
        try RedirectLog.format(disks.map(SimulatedFile.init), identity: identity, blockSize: Self.blockSize)
        isVoid = false
        isLastGood = true
        survivor = nil
        overtaken = []
        hasRottenSuperblock = false
    }

    /// Opens the log as a server does that starts; one that misses a side of its mirror has failed.
    func recover() throws(StorageError) -> RedirectLog {
        if isVoid { try format() }
        let files = disks.map(SimulatedFile.init)
        guard files.count > 1, machine.oneIn(6) else {
            let log = try RedirectLog(recovering: files)
            hasRottenSuperblock = false
            try drop(from: log)
            // One that has failed meanwhile has forgotten in RAM alone.
            if log.failure == nil { overtaken = [] }
            guard files.count > 1 else { return log }
            // What no start reads the scrub finds.
            if rots { try log.repairAll() }
            isLastGood = true
            survivor = nil
            return log
        }
        let side = survivor ?? (isLastGood ? machine.below(2) : 0)
        survivor = side
        let log = try RedirectLog(recovering: [files[side]], of: 2)
        log.fail(StorageError(.system(ENODEV), operation: "open", device: "the other side"))
        try drop(from: log)
        return log
    }

    /// Forgets what the log has of images that have it themselves by now.
    private func drop(from log: RedirectLog) throws(StorageError) {
        let destager = Destager(log: log, openImage: { _ in nil })
        for image in overtaken { try destager.discard(image) }
    }

    /// Between two starts the last side may be replaced by an older copy of itself.
    private func goBackNowAndThen() {
        guard let copy, survivor != disks.count - 1, machine.oneIn(4) else { return }
        disks[disks.count - 1].contents = copy
        isLastGood = false
        self.copy = nil
    }

    /// Puts on record that the log does not count any more: an access like any other.
    func makeVoid() throws(StorageError) { try record { isVoid = true } }

    /// Puts on record that what the log has of these images does not count any more.
    func makeVoid(_ images: [ImageIdentity]) throws(StorageError) { try record { overtaken.formUnion(images) } }

    private func record(_ body: () -> Void) throws(StorageError) {
        switch machine.access() {
        case .succeeds: body()
        case .fails: throw StorageError(.system(EIO), operation: "register", device: "simulated")
        case .crashes:
            if machine.oneIn(2) { body() }
            throw SimulatedMachine.crash
        case .crashed: throw SimulatedMachine.crash
        }
    }

    func rotNowAndThen() {
        if !hasRottenSuperblock, machine.oneIn(60) {
            disks[machine.below(disks.count)].rot(sector: machine.below(2))
            hasRottenSuperblock = true
        }
        if disks.count > 1, !rots, machine.oneIn(30) { copy = disks[disks.count - 1].contents }
        guard rots, machine.oneIn(24) else { return }
        disks[disks.count - 1].rot(from: 2 * Self.blockSize)
        isLastGood = false
    }

    func restart() {
        for disk in disks { disk.restart() }
        goBackNowAndThen()
    }
}

/// An image as the destager writes to it.
struct SimulatedTarget: DestageTarget {
    private let file: SimulatedFile
    private let begin: @Sendable (ByteRange) -> Void
    private let end: @Sendable () -> Void

    init(_ file: SimulatedFile, begin: @escaping @Sendable (ByteRange) -> Void, end: @escaping @Sendable () -> Void) {
        self.file = file
        self.begin = begin
        self.end = end
    }

    var name: String { file.name }
    var size: Int { file.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try file.read(into: buffer, at: offset)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try file.write(bytes, at: offset)
    }

    func flush() throws(StorageError) { try file.flush() }

    func exclusively(_ range: ByteRange, _ body: () throws(StorageError) -> Void) throws(StorageError) {
        begin(range)
        defer { end() }
        try body()
    }
}
