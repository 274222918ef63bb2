import BlockStorage
import Foundation
import Glibc
import Synchronization
import TestTools

@testable import Datastore
@testable import Tiering

// The fault model.
//
// - A server ends by a clean stop, with or without time to drain, or is killed: its threads end, and nothing more is put on
//   record. On a disk that forgets, the power may fail instead, at any flush of a log's device: what the export's file system
//   has not made durable is gone, what the state directory and the devices were told is there.
// - At a start the options may leave the fast devices out, name other ones, or say another layout; a device may be missing,
//   fail, or be an older copy of itself, in the same file or in another; a register may be cut off or damaged at any byte, or
//   gone; the handle key may be gone. What was wrong is put right before the next start.
// - While a server runs its fast devices may fail; the disk of the images may fail when they are opened by their handles
//   (ESTALE, EIO) or when blocks are moved to them; other programs write to images; a second server is started; and an
//   administrator drains, detaches, gives up, attaches, adopts and resolves, while clients write.

/// The machine of one schedule: directories, devices, and what goes wrong with them.
final class TierMachine: @unchecked Sendable {
    /// Two stripes of a spread log on each device.
    private static let deviceSize = 2 << 20 + 16 << 10
    private static let dead = StorageError(.system(ESHUTDOWN), operation: "access", device: "a machine without power")

    struct Faults {
        /// Whether the machine has lost its power.
        var isDead = false
        /// The directories whose devices fail, and those whose devices cannot be written to.
        var failing: Set<String> = []
        var readOnly: Set<String> = []
        /// So many of the next writes and flushes fail that move blocks to images.
        var storeFailures = 0
        var storeHasFailed = false
        /// The files that cannot be opened by their handles, by inode number.
        var unreachable: [UInt64: Int32] = [:]
        /// The flushes to go until the power fails.
        var flushesToCut = Int.max
        /// How long a flush takes, in microseconds.
        var flushTime: UInt32 = 0
    }

    /// What outlives a power failure, apart from the export.
    struct Snapshot {
        fileprivate let state: [String: Data]
        fileprivate let logs: [String: Data]
    }

    let directory: String
    /// Whether the export is a file system of its own.
    let hasDisk: Bool
    let faults = Locked(Faults())
    /// Called when the power fails, by whatever thread.
    var atCut: @Sendable () -> Void = {}
    /// Whether moving blocks to images may fail now.
    var mayStoreFail: @Sendable () -> Bool = { true }
    private let left = Locked<Snapshot?>(nil)

    init(hasDisk: Bool) throws {
        // Memory: what is flushed here is none of the host's disk's business.
        directory = "/dev/shm/introspect-\(UUID().uuidString)"
        self.hasDisk = hasDisk
        for name in ["export"] + (0..<3).map({ "ssd\($0)" }) {
            try FileManager.default.createDirectory(atPath: "\(directory)/\(name)", withIntermediateDirectories: true)
        }
        chmod(directory, 0o755)
        guard hasDisk else { return }
        try makeSparseFile("\(directory)/disk", size: 40 << 20)
        try runTool("mkfs.ext4", ["-q", "-O", "has_journal", "-E", "lazy_itable_init=0", "\(directory)/disk"])
        try mount("disk")
    }

    deinit {
        if hasDisk { _ = try? runTool("umount", ["--lazy", export]) }
        try? FileManager.default.removeItem(atPath: directory)
    }

    var export: String { "\(directory)/export" }
    var state: String { "\(directory)/state" }
    func ssd(_ index: Int) -> String { "\(directory)/ssd\(index)" }
    func log(_ index: Int) -> String { "\(ssd(index))/\(LogFile.fileName)" }
    var isDead: Bool { faults.withLock { $0.isDead } }

    // MARK: Devices

    /// Opens the log's file of a directory, or makes one.
    func openDevice(_ directory: String, mayMake: Bool) throws(StorageError) -> any BlockDevice {
        let path = "\(directory)/\(LogFile.fileName)"
        if mayMake, access(path, F_OK) != 0 {
            let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            guard file >= 0, ftruncate(file, Self.deviceSize) == 0 else {
                throw StorageError.lastSystemError(operation: "make", device: path)
            }
            close(file)
            let device = try FileDevice(path: path, access: .readWrite, mode: .buffered)
            try RedirectLog.format(device, identity: UInt128.random(in: 1 ... .max))
        }
        let device = try FileDevice(path: path, access: .readWrite, mode: .buffered)
        return MachineDevice(device: device) { [self] (kind) throws(StorageError) in try begin(kind, in: directory) }
    }

    /// Opens the file of an image to move blocks to it.
    func openImage(_ path: String) throws(StorageError) -> any BlockDevice {
        let device = try FileDevice(path: path, access: .readWrite, mode: .buffered)
        return MachineDevice(device: device) { [self] (kind) throws(StorageError) in
            let mayFail = kind != .read && mayStoreFail()
            let isGood = faults.withLock { faults in
                guard mayFail, faults.storeFailures > 0 else { return true }
                faults.storeFailures -= 1
                return false
            }
            if !isGood { throw StorageError(.system(EIO), operation: "access", device: path) }
        }
    }

    private func begin(_ access: Access, in directory: String) throws(StorageError) {
        let (isFailing, mustCut, time) = faults.withLock { faults in
            if access == .flush, !faults.isDead { faults.flushesToCut -= 1 }
            let mustCut = access == .flush && faults.flushesToCut == 0 && !faults.isDead
            if mustCut { faults.isDead = true }
            let isFailing =
                faults.failing.contains(directory) || (access != .read && faults.readOnly.contains(directory))
            return (isFailing, mustCut, access == .flush ? faults.flushTime : 0)
        }
        if mustCut { cutPower() }
        if time > 0 { usleep(time) }
        guard !isDead else { throw Self.dead }
        if isFailing { throw StorageError(.system(EIO), operation: "access", device: directory) }
    }

    // MARK: Power

    /// The power fails now.
    func cutPower() {
        atCut()
        // What is on the disk first: by what is on record elsewhere it may be newer, never older.
        _ = try? runTool("cp", ["--sparse=always", "\(directory)/disk", "\(directory)/left"])
        let snapshot = try? snapshot()
        left.withLock { $0 = snapshot }
    }

    /// Power returns: all is as it was when it failed, but for what was not flushed.
    func restorePower() throws {
        faults.withLock { $0 = Faults() }
        guard let snapshot = left.withLock({ $0.take() }) else {
            throw TierViolation("the power failed without a trace")
        }
        // What is still being closed keeps the old file system, which nobody sees any more.
        try runTool("umount", ["--lazy", export])
        try FileManager.default.removeItem(atPath: "\(directory)/disk")
        try FileManager.default.moveItem(atPath: "\(directory)/left", toPath: "\(directory)/disk")
        try mount("disk")
        try restore(snapshot)
    }

    private func mount(_ name: String) throws {
        try runTool("mount", ["-o", "loop,commit=3600", "\(directory)/\(name)", export])
    }

    // MARK: Copies

    func snapshot() throws -> Snapshot {
        Snapshot(state: try stateFiles(), logs: try logs())
    }

    func restore(_ snapshot: Snapshot) throws {
        for name in try stateFiles().keys where snapshot.state[name] == nil { unlink("\(state)/\(name)") }
        for (name, bytes) in snapshot.state { try writeState(name, bytes) }
        for (path, bytes) in snapshot.logs { try overwrite(path, bytes) }
    }

    /// The contents of the logs' files, by path.
    func logs() throws -> [String: Data] {
        var logs: [String: Data] = [:]
        for index in 0..<3 where access(log(index), F_OK) == 0 {
            logs[log(index)] = try Data(contentsOf: URL(filePath: log(index)))
        }
        return logs
    }

    /// Gives a file other bytes, in its place.
    func overwrite(_ path: String, _ bytes: Data) throws {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0, ftruncate(file, bytes.count) == 0 else { throw TierViolation("\(path) cannot be written") }
        defer { close(file) }
        let count = bytes.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, 0) }
        guard count == bytes.count else { throw TierViolation("\(path) cannot be written") }
    }

    func stateFiles() throws -> [String: Data] {
        var files: [String: Data] = [:]
        for name in (try? FileManager.default.contentsOfDirectory(atPath: state)) ?? [] where name != "lock" {
            files[name] = try? Data(contentsOf: URL(filePath: "\(state)/\(name)"))
        }
        return files
    }

    func writeState(_ name: String, _ bytes: Data) throws {
        try overwrite("\(state)/\(name)", bytes)
    }
}

/// What a schedule found wrong.
struct TierViolation: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

private enum Access { case read, write, flush }

/// A device whose accesses may fail.
private struct MachineDevice: BlockDevice {
    let device: FileDevice
    /// Called before each access; throws what it fails with.
    let begin: @Sendable (Access) throws(StorageError) -> Void

    var name: String { device.name }
    var size: Int { device.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try begin(.read)
        try device.read(into: buffer, at: offset)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try begin(.write)
        try device.write(bytes, at: offset)
    }

    func flush() throws(StorageError) {
        try begin(.flush)
        try device.flush()
    }
}
