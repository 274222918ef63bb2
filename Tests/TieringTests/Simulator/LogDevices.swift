import BlockStorage
import Glibc

@testable import Tiering

/// The devices of one log, and what is on record about it elsewhere.
final class LogDevices: @unchecked Sendable {
    private static let blockSize = SimulatedDisk.sectorSize
    /// Small, so that every commit goes over the border of two.
    private static let stripe = 4 * blockSize

    private let machine: SimulatedMachine
    private let layout: LogLayout
    private let disks: [SimulatedDisk]
    /// Whether the last side of a mirror rots.
    private let rots: Bool
    private var identity: UInt128 = 0
    /// Whether the log does not count any more: durable as soon as it is said.
    private(set) var isVoid = false

    /// The last side of a mirror as it was some time ago, if it does not rot.
    private var copy: SimulatedDisk.Contents?
    /// Whether the last side has everything, as far as rot and older copies go.
    private var isLastGood = true
    /// The side that was there alone at a start, until both have been.
    private var survivor: Int?
    /// The images that have everything themselves, whatever the log has.
    private var overtaken: Set<ImageIdentity> = []
    /// Whether a superblock has rotted since both copies were written.
    private var hasRottenSuperblock = false

    /// - Parameter size: of the log in bytes; each side of a mirror has as much.
    init(size: Int, layout: LogLayout, rots: Bool, machine: SimulatedMachine) {
        self.machine = machine
        self.layout = layout
        self.rots = rots && layout == .mirror
        let count = layout == .single ? 1 : layout == .mirror ? 2 : 2 + machine.below(2)
        let header = layout == .stripe ? StripedDevice.headerSize : 0
        let share = layout == .stripe ? (size / count / Self.stripe + 1) * Self.stripe : size
        disks = (0..<count).map { _ in SimulatedDisk(size: header + share, machine: machine) }
    }

    private var isMirrored: Bool { layout == .mirror }

    /// What mirrors one another.
    private func sides(_ layout: LogLayout, _ files: [any BlockDevice]) -> [any BlockDevice] {
        layout == .stripe ? [StripedDevice(files, stripe: Self.stripe)] : files
    }

    /// Makes a new log, which has nothing to do with the one before.
    func format() throws(StorageError) {
        identity += 1000
        copy = nil
        let sides = sides(layout, disks.map(SimulatedFile.init))
        try RedirectLog.format(sides, identity: identity, blockSize: Self.blockSize)
        isVoid = false
        isLastGood = true
        survivor = nil
        overtaken = []
        hasRottenSuperblock = false
    }

    /// Opens the log as a server does that starts; one that misses a side of its mirror has failed.
    func recover() throws(StorageError) -> RedirectLog {
        if isVoid { try format() }
        if machine.oneIn(8), let log = try openWrongly() { return log }
        let files = disks.map(SimulatedFile.init)
        guard isMirrored, machine.oneIn(6) else {
            let log = try RedirectLog(recovering: sides(layout, files))
            hasRottenSuperblock = false
            try drop(from: log)
            // One that has failed meanwhile has forgotten in RAM alone.
            if log.failure == nil { overtaken = [] }
            guard isMirrored else { return log }
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

    /// What a server does that is given the devices in another way than the log was made; nil when it sees that, which it
    /// is to.
    private func openWrongly() throws(StorageError) -> RedirectLog? {
        var files = disks.map(SimulatedFile.init)
        var asked = layout
        switch (layout, machine.below(3)) {
        case (.single, _): return nil
        case (_, 0): asked = isMirrored ? .stripe : .mirror
        case (.mirror, _), (_, 1): files.remove(at: machine.below(files.count))
        default: files.append(files.removeFirst())
        }
        if files.count == 1 { asked = .single }
        for (index, file) in files.enumerated() {
            let place = try RedirectLog.label(of: file)?.place
            guard place?.mismatch(asked, of: files.count, at: index) == nil else { return nil }
        }
        return try RedirectLog(recovering: sides(asked, files))
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
        if isMirrored, !rots, machine.oneIn(30) { copy = disks[disks.count - 1].contents }
        guard rots, machine.oneIn(24), survivor != disks.count - 1 else { return }
        disks[disks.count - 1].rot(from: 2 * Self.blockSize)
        isLastGood = false
    }

    func restart() {
        for disk in disks { disk.restart() }
        goBackNowAndThen()
    }
}
