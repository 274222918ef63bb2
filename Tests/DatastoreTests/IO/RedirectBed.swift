import BlockStorage
import Foundation
import Glibc
import Introspection
import Logging
import NIOCore
import Synchronization
import TestTools
import Testing
import Tiering

@testable import Datastore

/// An export with two images, and a directory for a redirect log.
final class RedirectBed: Sendable {
    static let content = [UInt8](repeating: 0xA7, count: 4096)

    let directory: String
    /// What goes wrong with the fast device.
    let faults = Faults()
    /// What the servers log.
    let log = LogLines()

    init() throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "introspect-\(UUID().uuidString)").path
        for name in ["export", "export2", "ssd", "ssd2"] {
            try FileManager.default.createDirectory(atPath: "\(directory)/\(name)", withIntermediateDirectories: true)
        }
        chmod(directory, 0o755)
        for name in ["disk.img", "other.img"] {
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(directory)/export/\(name)", "8192k"])
            // One that was never mounted is scanned again when its metadata is written.
            try runTool("debugfs", ["-w", "-R", "set_super_value mtime now", "\(directory)/export/\(name)"])
        }
    }

    deinit {
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Runs `body` with the export on a file system of its own, that writes nothing by itself; `namesOnDisk` tells which names
    /// a power failure would leave in the export.
    func withFileSystem(_ body: (_ namesOnDisk: @escaping @Sendable () throws -> String) throws -> Void) throws {
        let image = "\(directory)/image"
        try makeSparseFile(image, size: 160 << 20)
        try runTool("mkfs.ext4", ["-q", "-O", "has_journal", image])
        try runTool("mount", ["-o", "loop,commit=3600", image, "\(directory)/export"])
        defer { _ = try? runTool("umount", ["--lazy", "\(directory)/export"]) }
        for name in ["disk.img", "other.img"] {
            try runTool("mke2fs", ["-q", "-t", "ext3", "-b", "1024", "-F", path(name), "32768k"])
        }
        try runTool("sync", ["--file-system", path("disk.img")])
        try body { [directory] in
            let copy = "\(directory)/copy-\(UUID().uuidString)"
            defer { unlink(copy) }
            try runTool("cp", ["--sparse=always", image, copy])
            try runTool("e2fsck", ["-p", "-E", "journal_only", copy])
            return try runTool("debugfs", ["-R", "ls /", copy])
        }
    }

    /// What a power failure leaves of the file system of ``withFileSystem(_:)``, in its place.
    func cutPower() throws {
        let copy = "\(directory)/left"
        try runTool("cp", ["--sparse=always", "\(directory)/image", copy])
        try runTool("umount", ["\(directory)/export"])
        try runTool("mount", ["-o", "loop", copy, "\(directory)/export"])
    }

    /// The path of an exported file.
    func path(_ name: String) -> String { "\(directory)/export/\(name)" }

    /// The mode, or nil for no tier at all; a clean stop has no time to move anything.
    func serve(
        _ mode: DatastoreConfiguration.TierMode?, drainTimeout: Duration = .zero,
        classes: RedirectClasses = .metadata, exports: [String] = ["export"], ssd: [String] = ["ssd"],
        isMirrored: Bool = false, modes: [(String, DatastoreConfiguration.TierMode)] = [],
        handleOf name: String = "disk.img",
        _ body: (_ datastore: Datastore, _ handle: HandleAlias) throws -> Void
    ) throws {
        var configuration = DatastoreConfiguration(
            exports: exports.map { .init(path: "\(directory)/\($0)") }, stateDirectory: "\(directory)/state")
        configuration.cacheSize = 1 << 20
        configuration.tier = mode.map {
            .init(
                directories: ssd.map { "\(directory)/\($0)" }, mode: $0, classes: classes, size: 64 << 20,
                drainTimeout: drainTimeout)
        }
        let faults = faults
        configuration.tier?.isMirrored = isMirrored
        configuration.tier?.modes = modes.map { (path($0.0), $0.1) }
        configuration.tier?.openDevice = { (directory, size) throws(StorageError) in
            FaultyDevice(try LogFile(directory: directory, size: size), faults)
        }
        configuration.tier?.openImage = { (path, name) throws(StorageError) in
            HeldImage(device: try DatastoreConfiguration.Tier.openFile(path, name), faults: faults)
        }
        let datastore = try Datastore(configuration: configuration, logger: log.logger)
        defer { datastore.close() }
        try body(datastore, try handle(name, datastore))
    }

    func handle(_ name: String, _ datastore: Datastore, export: Int = 0) throws -> HandleAlias {
        let root = try root(datastore, export: export)
        return try datastore.lookup(root, FileName(name), as: .root).handle
    }

    func root(_ datastore: Datastore, export: Int = 0) throws -> HandleAlias {
        try datastore.mount(datastore.exports[export].path, client: .loopback)
    }

    func read(_ offset: Int, _ handle: HandleAlias, _ datastore: Datastore) throws -> [UInt8] {
        var buffer = ByteBuffer()
        _ = try datastore.read(handle, offset: UInt64(offset), count: 4096, as: .root, into: &buffer)
        return Array(buffer.readableBytesView)
    }

    /// What the log has of files that are gone is forgotten in the background.
    func expectEmptyLog(_ datastore: Datastore) {
        for _ in 0..<400 where datastore.tierStatus().liveBytes != 0 { usleep(25_000) }
        #expect(datastore.tierStatus().liveBytes == 0)
    }

    func readFile(_ offset: Int, _ name: String = "disk.img") throws -> [UInt8] {
        let file = try FileDevice(path: path(name), access: .readOnly, mode: .buffered)
        return try file.read(ByteRange(offset: offset, length: 4096))
    }

    @discardableResult func write(
        _ value: UInt8, at offset: Int, _ handle: HandleAlias, _ datastore: Datastore
    ) throws -> WriteResult {
        let bytes = ByteBuffer(repeating: value, count: 4096)
        return try datastore.write(
            handle, offset: UInt64(offset), bytes: bytes, stability: .fileSync, as: .root)
    }

    /// Waits until the image is known; returns where its inode table has 16 KiB.
    func inodeTable(_ datastore: Datastore, _ handle: HandleAlias, _ name: String = "disk.img") throws -> Int {
        try place(of: .inodeTable, length: 16384, datastore, handle, name)
    }

    /// Waits until the image is known; returns where `length` bytes of it are of one class.
    func place(
        of blockClass: BlockClass, length: Int, _ datastore: Datastore, _ handle: HandleAlias,
        _ name: String = "disk.img"
    ) throws -> Int {
        _ = try read(0, handle, datastore)
        for _ in 0..<200 where datastore.files.file(for: handle)?.isCached != true { usleep(50_000) }
        var place: Int?
        datastore.forEachClassMap { path, runs in
            guard path.hasSuffix("\(ByteString(name))") else { return }
            place = runs.first { $0.1 == blockClass && $0.0.length >= length }?.0.aligned(to: 4096).offset
        }
        return try #require(place)
    }

    /// Writes a block of the inode table once the image is known, and returns where.
    func redirect(_ datastore: Datastore, _ handle: HandleAlias) throws -> Int {
        let offset = try inodeTable(datastore, handle) + 8192
        let verifier = try write(Self.content[0], at: offset, handle, datastore).verifier
        #expect(verifier == datastore.writeVerifier)
        return offset
    }

    /// What goes wrong with a device from now on.
    final class Faults: Sendable {
        let writesFail = Atomic(false)
        let readsFail = Atomic(false)
        /// The error of a write that fails.
        let writeError = Atomic(EIO)
        /// How long each flush takes, in microseconds.
        let flushTime = Atomic<UInt32>(0)
        /// Called before each flush.
        let atFlush = Mutex<(@Sendable () -> Void)?>(nil)
        /// Called once, after the next read.
        let afterRead = Locked<(@Sendable () -> Void)?>(nil)
        /// Called once, when the destager is about to write to an image.
        let beforeImageWrite = Locked<(@Sendable () -> Void)?>(nil)
    }
}

/// The file of an image as the destager has it, which may have to wait for its disk.
private struct HeldImage: BlockDevice {
    let device: any BlockDevice
    let faults: RedirectBed.Faults

    var name: String { device.name }
    var size: Int { device.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try device.read(into: buffer, at: offset)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        let hook = faults.beforeImageWrite.withLock { $0.take() }
        hook?()
        try device.write(bytes, at: offset)
    }

    func flush() throws(StorageError) { try device.flush() }
}

/// A device whose accesses fail when they are told to.
private struct FaultyDevice: BlockDevice {
    let device: LogFile
    let faults: RedirectBed.Faults

    init(_ device: LogFile, _ faults: RedirectBed.Faults) {
        self.device = device
        self.faults = faults
    }

    var name: String { device.name }
    var size: Int { device.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        guard !faults.readsFail.load(ordering: .relaxed) else {
            throw StorageError(.system(EIO), operation: "read", device: name)
        }
        try device.read(into: buffer, at: offset)
        let hook = faults.afterRead.withLock { hook in
            defer { hook = nil }
            return hook
        }
        hook?()
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        guard !faults.writesFail.load(ordering: .relaxed) else {
            throw StorageError(.system(faults.writeError.load(ordering: .relaxed)), operation: "write", device: name)
        }
        try device.write(bytes, at: offset)
    }

    func flush() throws(StorageError) {
        faults.atFlush.withLock { $0 }?()
        usleep(faults.flushTime.load(ordering: .relaxed))
        try device.flush()
    }
}
