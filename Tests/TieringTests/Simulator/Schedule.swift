import BlockStorage
import Glibc
import TestTools

@testable import Tiering

/// One run of clients, destager and crashes, all decided by a seed, against redirect log and images on simulated disks.
///
/// After every read, crash and recovery, what clients see is held against ``WriteModel``: invariants 1 to 3 of
/// `docs/design.md`, and 4 at the end, when everything is drained and only the images are looked at.
final class Schedule: @unchecked Sendable {
    /// What a run found wrong.
    struct Violation: Error, CustomStringConvertible {
        let description: String
    }

    private struct Waiting {
        let image: Int
        let sectors: Range<Int>
        let stamp: UInt64
        let batch: Int
    }

    private static let sectorSize = SimulatedDisk.sectorSize
    private static let sectorCount = 48
    private static let imageCount = 3
    /// Every image reaches over the border of two regions of the index.
    private static let base = (4 << 20) - sectorCount / 2 * sectorSize
    private static let logSize = 2 * 512 + 64 * 4 * 512

    let machine: SimulatedMachine
    private let logDevices: LogDevices
    private let images: [SimulatedDisk]
    private let names: [ImageIdentity]
    /// The image that cannot be opened, and why: its file system is away, or its disk has errors.
    private var away: (image: Int, error: Int32)?
    private static let awayName = "an image that is away"
    private let failureInterval: Int
    /// Whether the images take the writes that the log takes.
    private let writesThrough: Bool
    /// Whether an administrator takes the log out of use now and then, whatever is under way.
    private let givesUp: Bool
    private var clientFiles: [SimulatedFile] = []
    private var models: [WriteModel]
    private var log: RedirectLog?
    private var destager: Destager?
    private var waiting: [Waiting] = []
    private var busy: [(image: Int, sectors: Range<Int>)] = []
    /// What the destager moves to an image.
    private var destaging: [(image: Int, sectors: Range<Int>)] = []
    private var lastStamp: UInt64 = 0
    private var violation: Violation?

    init(seed: UInt64) {
        let machine = SimulatedMachine(seed: seed)
        self.machine = machine
        failureInterval = seed.isMultiple(of: 3) ? 40 + machine.below(100) : 0
        writesThrough = seed / 24 % 2 == 1
        givesUp = seed % 5 == 2
        let layout: LogLayout = seed % 4 == 1 ? .mirror : seed % 4 == 3 ? .stripe : .single
        logDevices = LogDevices(size: Self.logSize, layout: layout, rots: seed % 8 == 1, machine: machine)
        images = (0..<Self.imageCount).map { _ in
            SimulatedDisk(base: Self.base, size: Self.sectorCount * Self.sectorSize, machine: machine)
        }
        names = (0..<Self.imageCount).compactMap { ImageIdentity([UInt8($0 + 1), 0xA5]) }
        models = Array(repeating: WriteModel(sectorCount: Self.sectorCount), count: Self.imageCount)
    }

    /// Runs `rounds` rounds of `steps` steps, each but the last ended by a crash, if not at `crashAt` accesses, at a
    /// random one.
    func run(rounds: Int, steps: Int, crashAt: Int? = nil) throws {
        try logDevices.format()
        for round in 0..<rounds {
            machine.accessesToCrash = crashAt ?? 1 + machine.below(steps * 8)
            try recover()
            machine.failureInterval = failureInterval
            machine.beforeAccess = { [unowned self] in interfere() }
            for _ in 0..<steps where !machine.hasCrashed && round < rounds - 1 {
                try step()
            }
            machine.beforeAccess = {}
            machine.failureInterval = 0
            if let violation { throw violation }
            restart()
        }
        machine.accessesToCrash = .max
        try recover()
        if log?.failure == nil { try destager?.pass(sparing: 0) }
        for image in images { image.restart() }
        for image in 0..<Self.imageCount {
            try check(image, 0..<Self.sectorCount, "after a clean stop") { sector in
                onDisk(image, sector)
            }
        }
    }

    // MARK: Starting

    /// Starts the server, again and again while it crashes meanwhile, and looks at everything.
    private func recover() throws {
        away = nil
        clientFiles = images.map(SimulatedFile.init)
        if writesThrough { try checkImages("without the log, after a crash") }
        while true {
            do throws(StorageError) {
                if writesThrough, logDevices.isVoid { loseLog() }
                use(try logDevices.recover())
                if log?.failure != nil { try evacuate() }
                break
            } catch {
                guard machine.hasCrashed else { throw Violation(description: "recovery failed: \(error)") }
                restart()
                machine.accessesToCrash = 1 + machine.below(200)
            }
        }
        for image in 0..<Self.imageCount {
            guard let bytes = try? read(image, 0..<Self.sectorCount) else { return }
            for sector in 0..<Self.sectorCount
            where !models[image].settle(bytes[sector], beneath: onDisk(image, sector), at: sector) {
                let expected = models[image].expectation(at: sector)
                throw Violation(
                    description: "after recovery image \(image) has \(bytes[sector]) at sector \(sector): \(expected)")
            }
        }
    }

    private func use(_ log: RedirectLog) {
        let files = images.indices.map { image in
            SimulatedTarget(SimulatedFile(images[image])) { [unowned self] range in
                begin(destaging: range, of: image)
            } end: { [unowned self] in
                destaging = []
            }
        }
        let names = names
        self.log = log
        destager = Destager(log: log) { [unowned self] (name) throws(StorageError) in
            let image = names.firstIndex(of: name)
            if let away = self.away, away.image == image {
                throw StorageError(.system(away.error), operation: "open", device: Self.awayName)
            }
            return image.map { files[$0] }
        }
    }

    /// Lets the writes end that a range is held for, but for one that waits for the destager.
    private func begin(destaging range: ByteRange, of image: Int) {
        let start = (range.offset - Self.base) / Self.sectorSize
        let sectors = start..<start + range.length / Self.sectorSize
        while waiting.contains(where: { $0.image == image && $0.sectors.overlaps(sectors) }), log?.failure == nil,
            !machine.hasCrashed
        {
            try? log?.commitOpen()
            answer()
        }
        destaging = [(image, sectors)]
    }

    private func restart() {
        log = nil
        destager = nil
        waiting = []
        busy = []
        destaging = []
        machine.restart()
        logDevices.restart()
        for image in images { image.restart() }
    }

    // MARK: Steps

    private func step() throws {
        logDevices.rotNowAndThen()
        if log?.failure != nil, machine.oneIn(2) { goOnWithoutLog() }
        if machine.oneIn(12) {
            away = machine.oneIn(2) ? (machine.below(Self.imageCount), machine.oneIn(2) ? ESTALE : EIO) : nil
        }
        if givesUp, machine.oneIn(40) { log?.fail(Self.givenUp) }
        switch machine.below(16) {
        case 0..<7: writeGroup()
        case 7..<10: writeAlone()
        case 10, 11:
            let image = machine.below(Self.imageCount)
            let sectors = randomSectors()
            try readAndCheck(image, sectors, "in a read")
        case 12: commitImage()
        case 13: destage { destager throws(StorageError) in try destager.pass(sparing: 0) }
        case 14:
            let spared = Double(self.machine.below(4)) / 4
            destage { destager throws(StorageError) in try destager.pass(sparing: spared) }
        default:
            let image = names[machine.below(Self.imageCount)]
            let range = Self.bytes(randomSectors())
            destage { destager throws(StorageError) in try destager.drain(image, range) }
        }
        if let violation { throw violation }
    }

    /// Several clients write at once, and one commit serves them.
    private func writeGroup() {
        for _ in 0...machine.below(4) { write() }
        finishCommits()
    }

    private func finishCommits() {
        guard let log else { return }
        // Others write meanwhile; a client whose write waits goes on waiting.
        while !waiting.isEmpty, log.failure == nil, !machine.hasCrashed {
            try? log.commitOpen()
            answer()
        }
        // A log that has failed answers nobody, not even those who have waited since before.
        if log.failure != nil, !machine.hasCrashed {
            try? log.commitOpen()
            answer()
        }
        waiting = []
        busy = []
    }

    /// Acknowledges the writes whose commit is durable.
    private func answer() {
        guard let log, !machine.hasCrashed else { return }
        let durable = log.monitor.withLock { log.state.durableNumber }
        let answered = waiting.filter { $0.batch <= durable }
        waiting.removeAll { $0.batch <= durable }
        for write in answered { finish(write.image, write.sectors, write.stamp) }
    }

    /// The log has a write.
    private func finish(_ image: Int, _ sectors: Range<Int>, _ stamp: UInt64) {
        guard writesThrough else { return models[image].acknowledge(stamp, sectors, isStable: true) }
        write(Self.content(stamp, sectors), to: image, sectors, stamp, isStable: true)
    }

    /// One write, to the log or the image, as the log decides; answered later if the log has it.
    private func write(mayWait: Bool = true) {
        guard let log, let write = beginWrite() else { return }
        let (image, sectors, stamp) = write
        let bytes = Self.content(stamp, sectors)
        var record = LogRecord(.write, image: names[image])
        record.offset = Self.bytes(sectors).offset
        record.length = bytes.count
        record.payloadChecksum = bytes.withUnsafeBytes { CRC32C.checksum($0) }
        let isWanted = !machine.oneIn(3)
        for _ in 0..<3 {
            let admission = try? bytes.withUnsafeBytes { (bytes) throws(StorageError) in
                try log.admit(record, bytes, isWanted: isWanted)
            }
            switch admission {
            case nil: return
            case .declined: return writeThrough(image, sectors, stamp, bytes)
            case .queued(let batch):
                waiting.append(Waiting(image: image, sectors: sectors, stamp: stamp, batch: batch))
                return
            case .batchFull:
                guard mayWait else { return }
                try? log.commitOpen()
                answer()
            case .logFull:
                guard mayWait else { return }
                destage { destager throws(StorageError) in try destager.pass(sparing: 0) }
            }
        }
    }

    /// One write by the way that the server takes, unless it would have to wait for the destager.
    private func writeAlone() {
        guard let log, let (image, sectors, stamp) = beginWrite() else { return }
        defer { finishCommits() }
        let bytes = Self.content(stamp, sectors)
        let isWanted = !machine.oneIn(3)
        // Also when the open commit and what others write meanwhile go before it.
        let needed = bytes.count + 2 * log.geometry.batchSize
        func hasSpace() -> Bool {
            log.monitor.withLock { log.state.hasSpace(for: needed, isWrite: true, log.geometry) }
        }
        if !hasSpace() { destage { destager throws(StorageError) in try destager.pass(sparing: 0) } }
        guard hasSpace() else { return }
        let offset = Self.bytes(sectors).offset
        let isTaken = try? bytes.withUnsafeBytes { (bytes) throws(StorageError) in
            try log.write(bytes, to: names[image], at: offset, priority: 0, isWanted: isWanted)
        }
        switch isTaken {
        case nil: return
        case true?: finish(image, sectors, stamp)
        case false?: writeThrough(image, sectors, stamp, bytes)
        }
    }

    private func beginWrite() -> (image: Int, sectors: Range<Int>, stamp: UInt64)? {
        let image = machine.below(Self.imageCount)
        let sectors = randomSectors()
        // Clients' writes that overlap follow one another: the datastore sees to it.
        guard !(busy + destaging).contains(where: { $0.image == image && $0.sectors.overlaps(sectors) }) else {
            return nil
        }
        busy.append((image, sectors))
        lastStamp += 1
        models[image].begin(lastStamp, sectors)
        return (image, sectors, lastStamp)
    }

    private func writeThrough(_ image: Int, _ sectors: Range<Int>, _ stamp: UInt64, _ bytes: [UInt8]) {
        write(bytes, to: image, sectors, stamp, isStable: machine.oneIn(2))
    }

    private func write(_ bytes: [UInt8], to image: Int, _ sectors: Range<Int>, _ stamp: UInt64, isStable: Bool) {
        let file = SimulatedFile(images[image])
        do {
            try file.write(bytes, at: Self.bytes(sectors).offset)
            if isStable { try file.flush() }
            models[image].acknowledge(stamp, sectors, isStable: isStable)
        } catch {
            models[image].poison()
        }
    }

    private func commitImage() {
        let image = machine.below(Self.imageCount)
        do throws(StorageError) {
            try clientFiles[image].flush()
            models[image].acknowledgeCommit()
        } catch {
            models[image].poison()
        }
    }

    private static let givenUp = StorageError(.system(ECANCELED), operation: "detach", device: "the log")

    /// What becomes of a log that has failed: its blocks go to the images, and perhaps another takes its place.
    private func goOnWithoutLog() {
        if machine.oneIn(2) { finishCommits() }
        guard log?.isAbandoned == true else { return destage { _ throws(StorageError) in try self.evacuate() } }
        finishCommits()
        guard machine.oneIn(2) else { return }
        do throws(StorageError) {
            use(try logDevices.recover())
        } catch {
            // It takes nothing then, as before.
        }
    }

    private func evacuate() throws(StorageError) {
        let isNeeded = !writesThrough
        let record = { () throws(StorageError) in try self.logDevices.makeVoid() }
        let recordImages = { (images: [ImageIdentity]) throws(StorageError) in try self.logDevices.makeVoid(images) }
        // Nothing is given up as long as all images can be opened, and what is in the log be read.
        let givingUp = givesUp && failureInterval == 0 && away == nil
        try destager?.evacuate(
            givingUp: givingUp, isNeeded: { _ in isNeeded }, recordImages: recordImages, record: record)
        guard writesThrough, log?.isAbandoned == true else { return }
        do {
            try checkImages("without the log")
        } catch {
            violation = error as? Violation
        }
        loseLog()
    }

    private func loseLog() {
        for image in models.indices {
            for sector in 0..<Self.sectorCount { models[image].loseLog(onDisk(image, sector), at: sector) }
        }
    }

    /// Looks whether the images have all that was acknowledged.
    private func checkImages(_ when: String) throws {
        for image in models.indices {
            for sector in 0..<Self.sectorCount where !models[image].allowsAlone(onDisk(image, sector), at: sector) {
                let (found, expected) = (onDisk(image, sector), models[image].expectation(at: sector))
                throw Violation(description: "\(when) image \(image) has \(found) at sector \(sector): \(expected)")
            }
        }
    }

    private func onDisk(_ image: Int, _ sector: Int) -> UInt64 {
        images[image].peek(at: Self.base + sector * Self.sectorSize)
    }

    private func destage(_ body: (Destager) throws(StorageError) -> Void) {
        guard let destager else { return }
        do throws(StorageError) {
            try body(destager)
        } catch {
            guard error.device != Self.awayName || failureInterval > 0 else { return }
            for image in models.indices { models[image].poison() }
        }
    }

    /// What other clients do while an access is under way: they read, and write what nobody else writes.
    private func interfere() {
        guard violation == nil, machine.oneIn(6) else { return }
        let others = machine.beforeAccess
        machine.beforeAccess = {}
        defer { machine.beforeAccess = others }
        if givesUp, machine.oneIn(30) { log?.beginToFail(Self.givenUp) }
        if machine.oneIn(4) { return goOnMeanwhile() }
        guard machine.oneIn(3) else { return write(mayWait: false) }
        let image = machine.below(Self.imageCount)
        let sectors = randomSectors()
        do {
            try readAndCheck(image, sectors, "in a read meanwhile")
        } catch {
            violation = error as? Violation
        }
    }

    /// The writes that wait go on, unless it is for them that the access is.
    private func goOnMeanwhile() {
        guard let log, log.monitor.withLock({ !log.state.isCommitting }) else { return }
        try? log.commitOpen()
        answer()
    }

    // MARK: Bytes

    private func randomSectors() -> Range<Int> {
        let count = 1 + machine.below(6)
        let start = machine.below(Self.sectorCount - count + 1)
        return start..<start + count
    }

    private static func bytes(_ sectors: Range<Int>) -> ByteRange {
        ByteRange(offset: base + sectors.lowerBound * sectorSize, length: sectors.count * sectorSize)
    }

    private static func content(_ stamp: UInt64, _ sectors: Range<Int>) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: sectors.count * sectorSize) { buffer, count in
            UnsafeMutableRawBufferPointer(buffer).initializeMemory(as: UInt64.self, repeating: stamp)
            count = sectors.count * sectorSize
        }
    }

    /// The stamps that a client reads.
    private func read(_ image: Int, _ sectors: Range<Int>) throws -> [UInt64] {
        guard let log else { return [] }
        let buffer = AlignedBuffer(count: sectors.count * Self.sectorSize)
        let range = Self.bytes(sectors)
        try log.read(range, of: names[image], into: buffer.bytes) { () throws(StorageError) in
            try clientFiles[image].read(into: buffer.bytes, at: range.offset)
        }
        return (0..<sectors.count).map {
            buffer.bytes.load(fromByteOffset: $0 * Self.sectorSize, as: UInt64.self)
        }
    }

    /// Reads as a client; what another client writes meanwhile may be in the answer or not.
    private func readAndCheck(_ image: Int, _ sectors: Range<Int>, _ when: String) throws {
        let before = models[image]
        guard let stamps = try? read(image, sectors) else { return }
        try check(image, sectors, when, or: before) { stamps[$0 - sectors.lowerBound] }
    }

    private func check(
        _ image: Int, _ sectors: Range<Int>, _ when: String, or before: WriteModel? = nil, _ stamp: (Int) -> UInt64
    ) throws {
        for sector in sectors where !models[image].allows(stamp(sector), at: sector) {
            if let before, before.allows(stamp(sector), at: sector) { continue }
            let expected = models[image].expectation(at: sector)
            throw Violation(
                description: "\(when) image \(image) has \(stamp(sector)) at sector \(sector): \(expected)")
        }
    }
}
