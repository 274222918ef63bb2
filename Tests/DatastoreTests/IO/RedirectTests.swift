import BlockStorage
import Foundation
import Glibc
import Logging
import NIOCore
import TestTools
import Testing
import Tiering

@testable import Datastore

/// What becomes of images whose newest blocks are in the redirect log.
@Suite(.serialized)
final class RedirectTests {
    private static let content = [UInt8](repeating: 0xA7, count: 4096)

    private let directory: String

    init() throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "introspect-\(UUID().uuidString)").path
        for name in ["export", "ssd"] {
            try FileManager.default.createDirectory(atPath: "\(directory)/\(name)", withIntermediateDirectories: true)
        }
        for name in ["disk.img", "other.img"] {
            try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(directory)/export/\(name)", "8192k"])
        }
    }

    deinit {
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// The mode, or nil for no tier at all; a clean stop has no time to move anything.
    private func serve(
        _ mode: DatastoreConfiguration.TierMode?, drainTimeout: Duration = .zero,
        _ body: (_ datastore: Datastore, _ handle: HandleAlias) throws -> Void
    ) throws {
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(directory)/export")], stateDirectory: "\(directory)/state")
        configuration.cacheSize = 1 << 20
        configuration.tier = mode.map {
            .init(directory: "\(directory)/ssd", mode: $0, size: 64 << 20, drainTimeout: drainTimeout)
        }
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let datastore = try Datastore(configuration: configuration, logger: logger)
        defer { datastore.close() }
        try body(datastore, try handle("disk.img", datastore))
    }

    private func handle(_ name: String, _ datastore: Datastore) throws -> HandleAlias {
        let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
        return try datastore.lookup(root, FileName(name), as: .root).handle
    }

    private func read(_ offset: Int, _ handle: HandleAlias, _ datastore: Datastore) throws -> [UInt8] {
        var buffer = ByteBuffer()
        _ = try datastore.read(handle, offset: UInt64(offset), count: 4096, as: .root, into: &buffer)
        return Array(buffer.readableBytesView)
    }

    private func readFile(_ offset: Int) throws -> [UInt8] {
        let file = try FileDevice(path: "\(directory)/export/disk.img", access: .readOnly, mode: .buffered)
        return try file.read(ByteRange(offset: offset, length: 4096))
    }

    /// Writes a block of the inode table once the image is known, and returns where.
    private func redirect(_ datastore: Datastore, _ handle: HandleAlias) throws -> Int {
        _ = try read(0, handle, datastore)
        for _ in 0..<200 where datastore.files.file(for: handle)?.isCached != true { usleep(50_000) }
        var place: Int?
        datastore.forEachClassMap { path, runs in
            guard path.hasSuffix("disk.img") else { return }
            place = runs.first { $0.1 == .inodeTable && $0.0.length >= 16384 }?.0.aligned(to: 4096).offset
        }
        let offset = try #require(place) + 8192
        let verifier = try datastore.write(
            handle, offset: UInt64(offset), bytes: ByteBuffer(bytes: Self.content), stability: .fileSync, as: .root
        ).verifier
        #expect(verifier == datastore.writeVerifier)
        return offset
    }

    @Test func whatTheLogHasIsThereAfterARestartAndInTheImageAfterADrain() throws {
        var offset = 0
        try serve(.writeback) { datastore, handle in
            offset = try redirect(datastore, handle)
            #expect(datastore.tier?.log.liveByteCount == 4096)
            let bytes = try read(offset, handle, datastore)
            #expect(bytes == Self.content)
        }
        #expect(try readFile(offset) != Self.content)
        rename("\(directory)/export/disk.img", "\(directory)/export/renamed.img")
        rename("\(directory)/export/renamed.img", "\(directory)/export/disk.img")
        try serve(.writeback, drainTimeout: .seconds(60)) { datastore, handle in
            // Not recognised yet: the log is asked all the same.
            let bytes = try read(offset, handle, datastore)
            #expect(bytes == Self.content)
        }
        #expect(try readFile(offset) == Self.content)
        try serve(nil) { datastore, handle in
            let bytes = try read(offset, handle, datastore)
            #expect(bytes == Self.content)
        }
    }

    @Test func anImageWithoutItsLogIsRefusedAndTheOthersAreServed() throws {
        var offset = 0
        try serve(.writeback) { datastore, handle in offset = try redirect(datastore, handle) }
        try serve(nil) { datastore, handle in
            #expect(failure { try read(offset, handle, datastore) } == .io)
            let cut = AttributeChanges(size: 0)
            #expect(failure { try datastore.setAttributes(handle, cut, guard: nil, as: .root) } == .io)
            let other = try self.handle("other.img", datastore)
            #expect(try read(0, other, datastore).count == 4096)
        }
        rename("\(directory)/ssd/redirect.log", "\(directory)/elsewhere")
        try serve(.writeback) { datastore, handle in
            #expect(failure { try read(offset, handle, datastore) } == .io)
            let other = try self.handle("other.img", datastore)
            #expect(try read(0, other, datastore).count == 4096)
        }
        rename("\(directory)/elsewhere", "\(directory)/ssd/redirect.log")
        // The way out: the log takes no more, and what it has goes to the images.
        try serve(.off, drainTimeout: .seconds(60)) { datastore, handle in
            let bytes = try read(offset, handle, datastore)
            #expect(bytes == Self.content)
        }
        #expect(try readFile(offset) == Self.content)
    }

    @Test func aRemovedImageTakesItsRedirectsWithIt() throws {
        try serve(.writeback) { datastore, handle in
            _ = try redirect(datastore, handle)
            let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
            _ = try datastore.remove(root, FileName("disk.img"), as: .root)
            #expect(datastore.tier?.log.liveByteCount == 0)
        }
        let log = try RedirectLog(recovering: LogFile(directory: "\(directory)/ssd", size: 0))
        #expect(log.liveByteCount == 0)
    }

    @Test func writethroughHasItInBothPlaces() throws {
        try serve(.writethrough) { datastore, handle in
            let offset = try redirect(datastore, handle)
            #expect(datastore.tier?.log.liveByteCount == 4096)
            #expect(try readFile(offset) == Self.content)
        }
        try serve(nil) { datastore, handle in _ = try read(0, handle, datastore) }
    }

    @Test func aLogThatClientsCouldReachIsRefused() throws {
        try FileManager.default.createDirectory(atPath: "\(directory)/export/ssd", withIntermediateDirectories: true)
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(directory)/export")], stateDirectory: "\(directory)/state")
        configuration.tier = .init(directory: "\(directory)/export/ssd", mode: .writeback)
        let outcome = failure { try Datastore(configuration: configuration, logger: Logger(label: "test")) }
        #expect(outcome == .invalidArgument)
    }
}
