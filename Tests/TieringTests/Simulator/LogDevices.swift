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
    private var isVoid = false

    init(size: Int, isMirrored: Bool, rots: Bool, machine: SimulatedMachine) {
        self.machine = machine
        self.rots = rots
        disks = (0..<(isMirrored ? 2 : 1)).map { _ in SimulatedDisk(size: size, machine: machine) }
    }

    /// Makes a new log, which has nothing to do with the one before.
    func format() throws(StorageError) {
        identity += 1000
        try RedirectLog.format(disks.map(SimulatedFile.init), identity: identity, blockSize: Self.blockSize)
        isVoid = false
    }

    /// Opens the log as a server does that starts; one that misses a side of its mirror has failed.
    func recover() throws(StorageError) -> RedirectLog {
        if isVoid { try format() }
        let files = disks.map(SimulatedFile.init)
        guard files.count > 1, machine.oneIn(6) else { return try RedirectLog(recovering: files) }
        let log = try RedirectLog(recovering: files[0])
        log.fail(StorageError(.system(ENODEV), operation: "open", device: "the other side"))
        return log
    }

    /// Puts on record that the log does not count any more: an access like any other.
    func makeVoid() throws(StorageError) {
        switch machine.access() {
        case .succeeds: isVoid = true
        case .fails: throw StorageError(.system(EIO), operation: "register", device: "simulated")
        case .crashes:
            isVoid = machine.oneIn(2)
            throw SimulatedMachine.crash
        case .crashed: throw SimulatedMachine.crash
        }
    }

    func rotNowAndThen() {
        guard rots, machine.oneIn(8) else { return }
        disks[disks.count - 1].rot(from: 2 * Self.blockSize)
    }

    func restart() {
        for disk in disks { disk.restart() }
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
