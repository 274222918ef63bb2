import BlockStorage
import Foundation
import Synchronization
import TestTools
import Testing

@testable import Tiering

struct RedirectLogTests {
    private static let size = 8 << 20
    private let image: ImageIdentity

    init() throws {
        image = try #require(ImageIdentity([7]))
    }

    private func emptyLog() throws -> MemoryDevice {
        let device = MemoryDevice(size: Self.size)
        try RedirectLog.format(device, identity: 5)
        return device
    }

    @discardableResult private func write(
        _ value: UInt8, at offset: Int, count: Int = 4096, to log: RedirectLog, isWanted: Bool = true
    ) throws -> Bool {
        try [UInt8](repeating: value, count: count).withUnsafeBytes {
            try log.write($0, to: image, at: offset, priority: 1, isWanted: isWanted)
        }
    }

    private func read(_ range: ByteRange, from log: RedirectLog, image device: MemoryDevice) throws -> [UInt8] {
        let buffer = AlignedBuffer(count: range.length)
        try log.read(range, of: image, into: buffer.bytes) { () throws(StorageError) in
            try device.read(into: buffer.bytes, at: range.offset)
        }
        return Array(buffer.bytes)
    }

    @Test func theChecksumIsCastagnolis() {
        // RFC 3720 appendix B.4, and the check value of the CRC catalogues.
        #expect(Array("123456789".utf8).withUnsafeBytes { CRC32C.checksum($0) } == 0xE306_9283)
        #expect([UInt8](repeating: 0, count: 32).withUnsafeBytes { CRC32C.checksum($0) } == 0x8A91_36AA)
        #expect([UInt8](repeating: 0xFF, count: 32).withUnsafeBytes { CRC32C.checksum($0) } == 0x62A8_AB43)
        #expect([UInt8](0..<32).withUnsafeBytes { CRC32C.checksum($0) } == 0x46DD_794E)
    }

    @Test func aWriteOverAPartOfARedirectIsTakenThoughNobodyWantsIt() throws {
        let log = try RedirectLog(recovering: emptyLog())
        let disk = MemoryDevice(size: 1 << 20)
        #expect(try write(1, at: 8192, count: 8192, to: log))
        #expect(try write(2, at: 16384 - 512, count: 1024, to: log, isWanted: false))
        #expect(try !write(3, at: 32768, to: log, isWanted: false))
        let bytes = try read(ByteRange(offset: 4096, length: 16384), from: log, image: disk)
        #expect(bytes[4095] == 0 && bytes[4096] == 1 && bytes[12288 - 513] == 1)
        #expect(bytes[12288 - 512] == 2 && bytes[12288 + 511] == 2 && bytes[12288 + 512] == 0)
    }

    @Test func manyWritersShareCommitsWhileTheDestagerRuns() throws {
        let device = try emptyLog()
        let disk = MemoryDevice(size: 16 << 20)
        let log = try RedirectLog(recovering: device)
        let destager = Destager(log: log, openImage: { _ in UnsharedTarget(disk) })
        let writers = 8
        let rounds = 150
        let left = Atomic(writers)
        DispatchQueue.concurrentPerform(iterations: writers + 1) { writer in
            do {
                guard writer < writers else {
                    while left.load(ordering: .relaxed) > 0 { try destager.pass(sparing: 0.25) }
                    return
                }
                defer { left.subtract(1, ordering: .relaxed) }
                for round in 0..<rounds {
                    // Each has 16 blocks of its own, between those of the others.
                    let offset = (round % 16 * writers + writer) * 4096
                    let value = UInt8(1 + (round + writer) % 255)
                    if try !write(value, at: offset, to: log, isWanted: round % 3 != 0) {
                        try disk.write([UInt8](repeating: value, count: 4096), at: offset)
                    }
                    let bytes = try read(ByteRange(offset: offset, length: 4096), from: log, image: disk)
                    #expect(bytes.allSatisfy { $0 == value })
                }
            } catch {
                Issue.record(error)
            }
        }
        let again = try RedirectLog(recovering: device)
        try Destager(log: again, openImage: { _ in UnsharedTarget(disk) }).pass(sparing: 0)
        #expect(again.liveByteCount == 0)
        for writer in 0..<writers {
            for round in rounds - 16..<rounds {
                let offset = (round % 16 * writers + writer) * 4096
                let bytes = try disk.read(ByteRange(offset: offset, length: 4096))
                #expect(bytes[100] == UInt8(1 + (round + writer) % 255))
            }
        }
    }

    @Test func aFullLogTakesWhatItMustAndIsEmptiedByTheDestager() throws {
        let log = try RedirectLog(recovering: emptyLog())
        let disk = MemoryDevice(size: 64 << 20)
        let destager = Destager(log: log, openImage: { _ in UnsharedTarget(disk) })
        var taken = 0
        while try write(1, at: taken * 4096, to: log) { taken += 1 }
        #expect(taken > Self.size / 8192 / 2)
        let stop = Atomic(false)
        DispatchQueue.concurrentPerform(iterations: 2) { worker in
            do {
                if worker == 0 {
                    // It waits, and is declined when the destager has moved what it would have lain over.
                    if try !write(2, at: 4096, to: log, isWanted: false) {
                        try disk.write([UInt8](repeating: 2, count: 4096), at: 4096)
                    }
                    stop.store(true, ordering: .relaxed)
                } else {
                    while !stop.load(ordering: .relaxed) {
                        if destager.isUrgent { try destager.pass(sparing: 0) }
                        usleep(500)
                    }
                }
            } catch {
                Issue.record(error)
            }
        }
        try destager.pass(sparing: 0)
        #expect(log.images.isEmpty)
        #expect(try disk.read(ByteRange(offset: 4096, length: 1)) == [2])
        #expect(try disk.read(ByteRange(offset: (taken - 1) * 4096, length: 1)) == [1])
    }

    @Test func aRunIsWrittenAsTheLogHasItWhileTheRangeIsHeld() throws {
        let disk = MemoryDevice(size: 1 << 20)
        let log = try RedirectLog(recovering: emptyLog())
        for block in 0..<4 { try write(1, at: block * 4096, to: log) }
        let image = image
        // A client has written over a part of the run, to the log and the image, when the destager gets the range.
        let write = { @Sendable () throws(StorageError) in
            let buffer = AlignedBuffer(count: 6144)
            for index in buffer.bytes.indices { buffer.bytes[index] = 2 }
            let bytes = UnsafeRawBufferPointer(buffer.bytes)
            _ = try log.write(bytes, to: image, at: 4096, priority: 1, isWanted: true)
            try disk.write(bytes, at: 4096)
        }
        let destager = Destager(log: log, openImage: { _ in HookedTarget(UnsharedTarget(disk), write) })
        try destager.pass(sparing: 0)
        let bytes = try disk.read(ByteRange(offset: 0, length: 16384))
        #expect(bytes[..<4096].allSatisfy { $0 == 1 } && bytes[4096..<10240].allSatisfy { $0 == 2 })
        #expect(bytes[10240...].allSatisfy { $0 == 1 })
        #expect(log.liveByteCount == 6144, "what is newer stays in the log")
    }

    /// One block of an image that is out of reach must not keep all others out of the log.
    @Test func anImageThatCannotBeDestagedDoesNotFillTheLog() throws {
        let device = try emptyLog()
        let log = try RedirectLog(recovering: device)
        let disk = MemoryDevice(size: 16 << 20)
        let away = try #require(ImageIdentity([8]))
        let destager = Destager(log: log) { (name) throws(StorageError) in
            if name == away { throw StorageError(.system(ESTALE), operation: "open", device: "away") }
            return UnsharedTarget(disk)
        }
        for block in 0..<4 {
            let bytes = [UInt8](repeating: 9, count: 4096)
            #expect(
                try bytes.withUnsafeBytes {
                    try log.write($0, to: away, at: block * 4096, priority: 0, isWanted: true)
                })
        }
        for round in 0..<4 * Self.size / 8192 {
            if log.fullness > 0.5 { try? destager.pass(sparing: 0.25) }
            let isTaken = try write(UInt8(1 + round % 255), at: round % 1000 * 4096, to: log)
            try #require(isTaken, "declined in round \(round)")
        }
        for log in [log, try RedirectLog(recovering: device)] {
            #expect(log.liveByteCounts[away] == 4 * 4096)
            let buffer = AlignedBuffer(count: 16384)
            try log.read(ByteRange(offset: 0, length: 16384), of: away, into: buffer.bytes) {}
            #expect(buffer.bytes.allSatisfy { $0 == 9 })
        }
    }

    /// A record that rots on one side of a mirror is good on both after the scrub, so that either may go.
    @Test(arguments: [0, 1]) func theScrubRepairsASideOfAMirror(bad: Int) throws {
        let sides = [MemoryDevice(size: Self.size), MemoryDevice(size: Self.size)]
        try RedirectLog.format(sides, identity: 5)
        let log = try RedirectLog(recovering: sides)
        for block in 0..<300 { try write(UInt8(1 + block % 200), at: block * 4096, to: log) }
        let range = ByteRange(offset: 250 * 4096, length: 4096)
        let redirect = try #require(log.redirects(of: image, in: range).first)
        let place = log.geometry.ringStart + redirect.position + LogRecord.headerSize + 7
        try sides[bad].write([0xEE], at: place)
        for _ in 0..<4 { try log.scrub() }
        #expect(log.takeNotes().count == 1)
        let other = try RedirectLog(recovering: [sides[bad]], of: 2)
        let bytes = try read(range, from: other, image: MemoryDevice(size: 2 << 20))
        #expect(bytes.allSatisfy { $0 == 1 + 250 % 200 })
    }

    /// What a client writes while an older record is moved is newer, wherever the two stand in the log.
    @Test func aRecordThatIsMovedDoesNotComeOverANewerOne() throws {
        let device = try emptyLog()
        let log = try RedirectLog(recovering: device)
        try write(1, at: 0, count: 8192, to: log)
        let redirect = try #require(log.redirects(of: image, in: ByteRange(offset: 0, length: 8192)).first)
        try write(2, at: 4096, to: log)
        #expect(try log.relocate(redirect, of: image))
        try log.commitOpen()
        for log in [log, try RedirectLog(recovering: device)] {
            let bytes = try read(ByteRange(offset: 0, length: 8192), from: log, image: MemoryDevice(size: 8192))
            #expect(bytes[0] == 1 && bytes[4095] == 1 && bytes[4096] == 2 && bytes[8191] == 2)
            let found = log.redirects(of: image, in: ByteRange(offset: 0, length: 4096)).first
            #expect(found.map { $0.position > redirect.position } == true)
        }
    }

    /// So does evacuation, of which somebody else may think when the log has begun to fail.
    @Test(arguments: [false, true]) func failingWaitsForTheCommitUnderWay(hasBegun: Bool) throws {
        let device = GatedDevice(try emptyLog())
        let disk = MemoryDevice(size: 1 << 20)
        let log = try RedirectLog(recovering: device)
        let destager = Destager(log: log, openImage: { _ in UnsharedTarget(disk) })
        device.close { _ in true }
        let isTaken = Atomic(false)
        let hasAll = Atomic(false)
        DispatchQueue.concurrentPerform(iterations: 2) { worker in
            if worker == 0 {
                let taken = try? write(5, at: 4096, to: log)
                isTaken.store(taken == true, ordering: .sequentiallyConsistent)
            } else {
                device.waitForAccess()
                let ended = Atomic(false)
                let thread = Thread {
                    let failure = StorageError(.system(EIO), operation: "detach", device: "log")
                    if hasBegun { log.beginToFail(failure) } else { log.fail(failure) }
                    hasAll.store(hasBegun || log.liveByteCount == 4096, ordering: .sequentiallyConsistent)
                    _ = try? destager.evacuate(givingUp: true) {}
                    ended.store(true, ordering: .sequentiallyConsistent)
                }
                thread.start()
                while log.failure == nil { usleep(1000) }
                for _ in 0..<50 where !ended.load(ordering: .sequentiallyConsistent) { usleep(2000) }
                device.open()
                while !ended.load(ordering: .sequentiallyConsistent) { usleep(1000) }
            }
        }
        #expect(log.isAbandoned)
        let hadAll = hasAll.load(ordering: .sequentiallyConsistent)
        #expect(hadAll, "whoever had it fail does not see what may be acknowledged yet")
        let byte = try disk.read(ByteRange(offset: 4096, length: 1))[0]
        #expect(byte == 5 || !isTaken.load(ordering: .sequentiallyConsistent), "an acknowledged write is lost")
        #expect(try !write(6, at: 4096, to: log), "the image takes what comes later")
    }

    @Test func aGoodCheckpointDoesNotUndoAFailure() throws {
        let device = GatedDevice(try emptyLog())
        let log = try RedirectLog(recovering: device)
        // The first write of a superblock from here on is that of a checkpoint.
        device.close { $0 < log.geometry.ringStart }
        DispatchQueue.concurrentPerform(iterations: 2) { worker in
            if worker == 0 {
                for round in 0..<400 where log.failure == nil { _ = try? write(5, at: round % 16 * 4096, to: log) }
            } else {
                device.waitForAccess()
                let thread = Thread { log.fail(StorageError(.system(EIO), operation: "detach", device: "log")) }
                thread.start()
                while log.failure == nil { usleep(1000) }
                device.open()
            }
        }
        log.waitForCommit()
        #expect(log.failure != nil)
    }

    #if DEBUG
        /// A checkpoint is of megabytes, and others read and write while its records are made. See ``LockRank``.
        @Test func aCheckpointIsPutTogetherWithoutTheLogsLock() async {
            await #expect(processExitsWith: .success) {
                let device = MemoryDevice(size: 8 << 20)
                try RedirectLog.format(device, identity: 5)
                let log = try RedirectLog(recovering: device)
                let image = try #require(ImageIdentity([7]))
                let before = log.generation
                let bytes = [UInt8](repeating: 5, count: 4096)
                for round in 0..<400 {
                    _ = try bytes.withUnsafeBytes {
                        try log.write($0, to: image, at: round % 16 * 4096, priority: 1, isWanted: true)
                    }
                }
                #expect(log.generation > before, "no checkpoint was made")
            }
        }
    #endif

    @Test func aRottenRecordIsReportedAndNeverServed() throws {
        let device = try emptyLog()
        let disk = MemoryDevice(size: 1 << 20)
        let log = try RedirectLog(recovering: device)
        for block in 0..<4 { try write(9, at: block * 4096, to: log) }
        let redirect = try #require(log.redirects(of: image, in: ByteRange(offset: 4096, length: 4096)).first)
        let place = log.geometry.ringStart + redirect.position + LogRecord.headerSize + 100
        try device.write([0], at: place)
        #expect(throws: StorageError.self) {
            try read(ByteRange(offset: 4096, length: 512), from: log, image: disk)
        }
        let destager = Destager(log: log, openImage: { _ in UnsharedTarget(disk) })
        #expect(throws: StorageError.self) { try destager.pass(sparing: 0) }
        #expect(try disk.read(ByteRange(offset: 8192, length: 1)) == [9], "the others are destaged")
        #expect(try disk.read(ByteRange(offset: 4096, length: 1)) == [0])
        #expect(throws: StorageError.self) { try RedirectLog(recovering: device) }
    }

    @Test func onlyTheEndOfTheLogMayBeTorn() throws {
        let device = try emptyLog()
        let log = try RedirectLog(recovering: device)
        for block in 0..<4 { try write(9, at: block * 4096, to: log) }
        let last = try #require(log.redirects(of: image, in: ByteRange(offset: 12288, length: 4096)).first)
        try device.write([0xFF], at: log.geometry.ringStart + last.position + LogRecord.headerSize)
        let again = try RedirectLog(recovering: device)
        #expect(again.liveByteCount == 3 * 4096)
    }

    @Test func everythingElseIsNoLog() throws {
        #expect(throws: StorageError.self) { try RedirectLog(recovering: MemoryDevice(size: Self.size)) }
        #expect(throws: StorageError.self) { try RedirectLog.format(MemoryDevice(size: 4096), identity: 1) }
        var random = SplitMix64(seed: 1)
        for _ in 0..<200 {
            let device = try emptyLog()
            let log = try RedirectLog(recovering: device)
            for block in 0..<8 { try write(3, at: block * 4096, to: log) }
            for _ in 0..<8 {
                let offset = Int(random.next() % (96 << 10))
                try device.write([UInt8(truncatingIfNeeded: random.next())], at: offset)
            }
            // It is recovered or refused; it must not trap, and what is served is what was written.
            guard let again = try? RedirectLog(recovering: device) else { continue }
            let disk = MemoryDevice(size: 1 << 20)
            guard let bytes = try? read(ByteRange(offset: 0, length: 4096), from: again, image: disk) else { continue }
            #expect(bytes.allSatisfy { $0 == bytes[0] } && (bytes[0] == 3 || bytes[0] == 0))
        }
    }
}

/// A target that has something happen when the destager gets a range.
private struct HookedTarget: DestageTarget {
    private let target: UnsharedTarget
    private let hook: @Sendable () throws(StorageError) -> Void

    init(_ target: UnsharedTarget, _ hook: @escaping @Sendable () throws(StorageError) -> Void) {
        self.target = target
        self.hook = hook
    }

    var name: String { target.name }
    var size: Int { target.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try target.read(into: buffer, at: offset)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try target.write(bytes, at: offset)
    }

    func flush() throws(StorageError) { try target.flush() }

    func exclusively(_ range: ByteRange, _ body: () throws(StorageError) -> Void) throws(StorageError) {
        try hook()
        try body()
    }
}

/// A device whose writes wait where they are told to.
private final class GatedDevice: BlockDevice {
    private struct State {
        var isClosed: @Sendable (Int) -> Bool = { _ in false }
        var waiting = 0
    }

    private let device: MemoryDevice
    private let state = Locked(State())

    init(_ device: MemoryDevice) {
        self.device = device
    }

    var name: String { "gated" }
    var size: Int { device.size }

    /// Lets writes to the offsets for which `isClosed` wait until ``open()``.
    func close(_ isClosed: @escaping @Sendable (Int) -> Bool) { state.withLock { $0.isClosed = isClosed } }

    func open() { state.withLock { $0.isClosed = { _ in false } } }

    /// Returns when a write waits.
    func waitForAccess() {
        while state.withLock({ $0.waiting == 0 }) { usleep(500) }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try device.read(into: buffer, at: offset)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        while state.withLock({ state in
            let isClosed = state.isClosed(offset)
            if isClosed { state.waiting += 1 }
            return isClosed
        }) {
            usleep(500)
        }
        try device.write(bytes, at: offset)
    }

    func flush() {}
}
