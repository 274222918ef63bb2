import BlockStorage
import Foundation
import Glibc
import NIOCore
import TestTools

@testable import Datastore
@testable import Introspection

/// A hostile image in the directory of its tenant, in service.
final class HostileTenant: Sendable {
    private let datastore: Datastore
    private let directory: String
    private let path: String
    private let directoryHandle: DatastoreHandle
    private let name: FileName
    private let handle: DatastoreHandle
    private let size: Int

    /// Puts `image` into the directory `name` of the export, and reads from it, so that it is looked into.
    init(
        _ image: HostileImage, in name: String, _ datastore: Datastore, _ root: DatastoreHandle, _ export: String
    ) throws {
        self.datastore = datastore
        directory = "\(export)/\(name)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        for file in image.files { try Self.store(file.disk, at: "\(directory)/\(file.name)") }
        path = "\(directory)/\(image.files[0].name)"
        size = image.files[0].disk.size
        directoryHandle = try datastore.lookup(root, FileName(name), as: .root).handle
        self.name = FileName(image.files[0].name)
        handle = try datastore.lookup(directoryHandle, self.name, as: .root).handle
        var buffer = ByteBuffer()
        _ = try datastore.read(handle, offset: 0, count: 512, as: .root, into: &buffer)
    }

    static func store(_ disk: SparseDisk, at path: String) throws {
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        defer { close(file) }
        guard file >= 0, ftruncate(file, disk.size) == 0 else {
            throw ToolFailure(description: "\(path): \(String(cString: strerror(errno)))")
        }
        try disk.forEachStored { offset, bytes in
            let count = min(bytes.count, disk.size - offset)
            guard pwrite(file, bytes, count, offset) == count else {
                throw ToolFailure(description: "\(path): \(String(cString: strerror(errno)))")
            }
        }
    }

    private var session: ImageSession? { datastore.files.file(for: handle)?.member?.session }

    /// Whether the image was scanned, or found not to be one.
    var isScanned: Bool {
        guard let session else { return datastore.files.foreignImages.contains { $0.path == path } }
        return session.lastScan != nil || session.hasFailed
    }

    /// Whether what the guest wrote is not digested yet.
    var isDigesting: Bool {
        session?.introspector.state.withLock { $0.fileSystems.contains(where: \.needsDigest) } ?? false
    }

    /// How long the last scan took.
    var lastScan: Duration? { session?.lastScan?.duration }

    /// The guest writes.
    func write(_ write: HostileImage.Write, isStable: Bool) {
        // What reaches past the end makes the image larger.
        guard write.offset + write.bytes.count <= size else { return }
        _ = try? datastore.write(
            handle, offset: UInt64(write.offset), bytes: ByteBuffer(bytes: write.bytes),
            stability: isStable ? .fileSync : .unstable, as: .root)
    }

    /// What an administrator may ask of it.
    func lookInto() {
        guard let session, session.lastScan != nil else { return }
        _ = try? datastore.warm(path)
        var random = SplitMix64(seed: 1)
        for _ in 0..<3 {
            _ = try? datastore.explain(path: path, offset: Int.random(in: 0..<max(1, size), using: &random))
        }
        _ = session.classMap()
        let reader = session.reader
        var lines = 0
        session.introspector.forEachContents(reader) { _, _, _ in
            lines += 1
            return lines < 1 << 18
        }
        session.introspector.forEachName(reader) { _, _, _ in
            lines += 1
            return lines < 1 << 19
        }
    }

    func remove() throws {
        // A client does it, so that the server need not find out first.
        _ = try datastore.remove(directoryHandle, name, as: .root)
        try FileManager.default.removeItem(atPath: directory)
    }
}
