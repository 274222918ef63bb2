import CFUSE
import Glibc
import TestBed

/// A FUSE file system with a file for each volume, every request of which goes to the image at once.
final class VolumeFiles: Sendable {
    /// The largest request in bytes: a READ's reply has to fit into a connection's buffer.
    static let maximumRequest = 128 << 10
    /// Requests under way at a time.
    static let threadCount = 32

    private let volumes: [Volume]
    private let mountPoint: String

    /// How long the kernel may remember names and attributes, in seconds; they never change.
    private static let validity = 3600.0
    /// The node of the first volume; 1 is the directory.
    private static let firstNode = 2

    init(_ volumes: [Volume], on mountPoint: String) {
        self.volumes = volumes
        self.mountPoint = mountPoint
    }

    /// What the threads share of libfuse, which allows it.
    private struct Session: @unchecked Sendable {
        let pointer: OpaquePointer
    }

    /// Mounts, and serves until it is unmounted, or SIGINT or SIGTERM comes.
    func run() throws(TestBedError) {
        let words = ["introspect-attach", "-o", "fsname=introspect-attach,max_read=\(Self.maximumRequest)"]
        var arguments = words.map { strdup($0) }
        defer { arguments.forEach { free($0) } }
        let pointer = arguments.withUnsafeMutableBufferPointer { pointers in
            var list = fuse_args(argc: Int32(pointers.count), argv: pointers.baseAddress, allocated: 0)
            var operations = Self.operations
            return fuse_session_new(
                &list, &operations, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(self).toOpaque())
        }
        guard let pointer else { throw TestBedError("FUSE refuses a session") }
        defer { fuse_session_destroy(pointer) }
        guard fuse_set_signal_handlers(pointer) == 0 else { throw TestBedError("FUSE refuses signal handlers") }
        defer { fuse_remove_signal_handlers(pointer) }
        guard fuse_session_mount(pointer, mountPoint) == 0 else {
            throw TestBedError("cannot mount a FUSE file system on \(mountPoint)")
        }
        let session = Session(pointer: pointer)
        let threads = (0..<Self.threadCount).map { _ in Thread.start { Self.serve(session) } }
        while fuse_session_exited(pointer) == 0 { usleep(20000) }
        fuse_session_unmount(pointer)
        threads.forEach { $0.join() }
    }

    private static func serve(_ session: Session) {
        var buffer = fuse_buf()
        defer { free(buffer.mem) }
        while fuse_session_exited(session.pointer) == 0 {
            let count = fuse_session_receive_buf(session.pointer, &buffer)
            if count == -Int32(EINTR) { continue }
            guard count > 0 else { return }
            fuse_session_process_buf(session.pointer, &buffer)
        }
    }

    private static var operations: fuse_lowlevel_ops {
        var operations = fuse_lowlevel_ops()
        operations.`init` = { _, connection in
            guard let connection else { return }
            connection.pointee.max_write = UInt32(VolumeFiles.maximumRequest)
            connection.pointee.max_read = UInt32(VolumeFiles.maximumRequest)
            connection.pointee.max_background = UInt32(VolumeFiles.threadCount)
            connection.pointee.congestion_threshold = UInt32(VolumeFiles.threadCount)
        }
        operations.lookup = { request, _, name in
            let wanted = name.map { String(cString: $0) }
            guard let files = VolumeFiles.of(request),
                let index = files.volumes.firstIndex(where: { $0.name == wanted })
            else {
                fuse_reply_err(request, ENOENT)
                return
            }
            var entry = fuse_entry_param()
            entry.ino = fuse_ino_t(index + VolumeFiles.firstNode)
            entry.attr = files.attributes(of: entry.ino)
            entry.attr_timeout = VolumeFiles.validity
            entry.entry_timeout = VolumeFiles.validity
            fuse_reply_entry(request, &entry)
        }
        operations.getattr = { request, node, _ in VolumeFiles.replyAttributes(request, node) }
        operations.setattr = { request, node, _, _, _ in VolumeFiles.replyAttributes(request, node) }
        operations.open = { request, _, info in
            guard let info else { return }
            introspect_fuse_set_direct_io(info)
            fuse_reply_open(request, info)
        }
        operations.read = { request, node, size, offset, _ in VolumeFiles.read(request, node, size, offset) }
        operations.write = { request, node, bytes, size, offset, _ in
            VolumeFiles.reply(request, node) { volume throws(NFSClientError) in
                let bytes = UnsafeRawBufferPointer(start: bytes, count: size)
                let range = (offset..<offset + size).clamped(to: 0..<volume.size)
                for (within, diskOffset) in volume.places(of: range) {
                    try volume.image.write(UnsafeRawBufferPointer(rebasing: bytes[within]), at: diskOffset)
                }
                return { fuse_reply_write(request, range.count) }
            }
        }
        operations.fsync = { request, node, _, _ in
            VolumeFiles.reply(request, node) { volume throws(NFSClientError) in
                try volume.image.flush()
                return { fuse_reply_err(request, 0) }
            }
        }
        return operations
    }

    private static func of(_ request: fuse_req_t?) -> VolumeFiles? {
        fuse_req_userdata(request).map { Unmanaged<VolumeFiles>.fromOpaque($0).takeUnretainedValue() }
    }

    private func volume(_ node: fuse_ino_t) -> Volume? {
        let index = Int(node) - Self.firstNode
        return volumes.indices.contains(index) ? volumes[index] : nil
    }

    private func attributes(of node: fuse_ino_t) -> stat {
        var result = stat()
        result.st_ino = ino_t(node)
        result.st_blksize = 4096
        if let volume = volume(node) {
            result.st_nlink = 1
            result.st_mode = S_IFREG | 0o600
            result.st_size = volume.size
            result.st_blocks = volume.size / 512
        } else {
            result.st_nlink = 2
            result.st_mode = S_IFDIR | 0o755
        }
        return result
    }

    private static func replyAttributes(_ request: fuse_req_t?, _ node: fuse_ino_t) {
        guard let files = of(request) else { return }
        var attributes = files.attributes(of: node)
        fuse_reply_attr(request, &attributes, validity)
    }

    private static func read(_ request: fuse_req_t?, _ node: fuse_ino_t, _ size: Int, _ offset: Int) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(size, 1), alignment: 4096)
        defer { buffer.deallocate() }
        reply(request, node) { volume throws(NFSClientError) in
            let range = (offset..<offset + size).clamped(to: 0..<volume.size)
            for (within, diskOffset) in volume.places(of: range) {
                try volume.image.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[within]), at: diskOffset)
            }
            return { fuse_reply_buf(request, buffer.bindMemory(to: CChar.self).baseAddress, range.count) }
        }
    }

    /// Answers with what `action` hands back, or with EIO, and says why.
    private static func reply(
        _ request: fuse_req_t?, _ node: fuse_ino_t,
        _ action: (Volume) throws(NFSClientError) -> () -> Int32
    ) {
        guard let volume = of(request)?.volume(node) else {
            fuse_reply_err(request, EIO)
            return
        }
        do throws(NFSClientError) {
            _ = try action(volume)()
        } catch {
            tell("\(volume.name): \(error)")
            fuse_reply_err(request, EIO)
        }
    }
}
