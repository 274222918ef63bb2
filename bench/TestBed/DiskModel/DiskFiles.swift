import CFUSE
import Glibc

/// The files of a ``DiskServer``, as FUSE's low-level operations.
enum DiskFiles {
    private enum Node: fuse_ino_t, CaseIterable {
        case root = 1
        case disk
        case statistics
        case control
        case trace

        var name: String {
            switch self {
            case .root: "."
            case .disk: "disk"
            case .statistics: "statistics.json"
            case .control: "control"
            case .trace: "trace"
            }
        }

        func attributes(of server: DiskServer) -> stat {
            var result = stat()
            result.st_ino = ino_t(rawValue)
            result.st_nlink = self == .root ? 2 : 1
            switch self {
            case .root: result.st_mode = S_IFDIR | 0o755
            case .disk: result.st_mode = S_IFREG | 0o600
            case .statistics, .trace: result.st_mode = S_IFREG | 0o444
            case .control: result.st_mode = S_IFREG | 0o200
            }
            if self == .disk {
                result.st_size = server.store.size
                result.st_blocks = server.store.size / 512
            }
            result.st_blksize = 4096
            return result
        }
    }

    /// A request that is answered later, from another thread.
    private struct PendingRequest: @unchecked Sendable {
        let request: fuse_req_t
    }

    /// How long the kernel may remember names and attributes, in seconds; they never change.
    private static let validity = 3600.0

    static var operations: fuse_lowlevel_ops {
        var operations = fuse_lowlevel_ops()
        operations.`init` = { _, connection in
            guard let connection else { return }
            connection.pointee.max_write = UInt32(DiskServer.maximumRequest)
            connection.pointee.max_read = UInt32(DiskServer.maximumRequest)
            connection.pointee.max_background = UInt32(DiskServer.maximumBackground)
            connection.pointee.congestion_threshold = UInt32(DiskServer.maximumBackground)
        }
        operations.lookup = { request, _, name in DiskFiles.lookUp(request, name) }
        operations.getattr = { request, inode, _ in DiskFiles.replyAttributes(request, inode) }
        operations.setattr = { request, inode, _, _, _ in DiskFiles.replyAttributes(request, inode) }
        operations.readdir = { request, _, size, offset, _ in DiskFiles.readDirectory(request, size, offset) }
        operations.open = { request, _, info in
            guard let info else { return }
            introspect_fuse_set_direct_io(info)
            fuse_reply_open(request, info)
        }
        operations.read = { request, inode, size, offset, _ in DiskFiles.read(request, inode, size, offset) }
        operations.write = { request, inode, bytes, size, offset, _ in
            DiskFiles.write(request, inode, bytes, size, offset)
        }
        operations.fsync = { request, inode, _, _ in DiskFiles.flush(request, inode) }
        return operations
    }

    private static func server(of request: fuse_req_t?) -> DiskServer? {
        fuse_req_userdata(request).map { Unmanaged<DiskServer>.fromOpaque($0).takeUnretainedValue() }
    }

    private static func lookUp(_ request: fuse_req_t?, _ name: UnsafePointer<CChar>?) {
        let wanted = name.map { String(cString: $0) }
        guard let server = server(of: request),
            let node = Node.allCases.first(where: { $0.name == wanted && $0 != .root })
        else {
            fuse_reply_err(request, ENOENT)
            return
        }
        var entry = fuse_entry_param()
        entry.ino = node.rawValue
        entry.attr = node.attributes(of: server)
        entry.attr_timeout = validity
        entry.entry_timeout = validity
        fuse_reply_entry(request, &entry)
    }

    private static func replyAttributes(_ request: fuse_req_t?, _ inode: fuse_ino_t) {
        guard let server = server(of: request), let node = Node(rawValue: inode) else {
            fuse_reply_err(request, ENOENT)
            return
        }
        var attributes = node.attributes(of: server)
        fuse_reply_attr(request, &attributes, validity)
    }

    private static func readDirectory(_ request: fuse_req_t?, _ size: Int, _ offset: Int) {
        guard let server = server(of: request) else { return }
        let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: max(size, 1))
        defer { buffer.deallocate() }
        var used = 0
        for (index, node) in Node.allCases.enumerated().dropFirst(max(0, offset)) {
            var attributes = node.attributes(of: server)
            let needed = fuse_add_direntry(
                request, buffer + used, size - used, node.name, &attributes, Int(index + 1))
            guard used + needed <= size else { break }
            used += needed
        }
        fuse_reply_buf(request, buffer, used)
    }

    private static func read(_ request: fuse_req_t?, _ inode: fuse_ino_t, _ size: Int, _ offset: Int) {
        guard let request, let server = server(of: request), let node = Node(rawValue: inode) else { return }
        switch node {
        case .disk where server.isFailing:
            fuse_reply_err(request, EIO)
        case .disk:
            let pending = PendingRequest(request: request)
            let length = max(0, min(size, server.store.size - offset))
            server.clock.submit(.read, offset: offset, length: length) {
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(size, 1), alignment: 4096)
                defer { buffer.deallocate() }
                let count = server.store.read(
                    into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<size]), at: offset)
                if count < 0 {
                    fuse_reply_err(pending.request, Int32(-count))
                } else {
                    fuse_reply_buf(pending.request, buffer.bindMemory(to: CChar.self).baseAddress, count)
                }
            }
        case .statistics:
            reply(request, server.statisticsDocument().dropFirst(offset).prefix(size))
        case .trace:
            reply(request, server.traceDocument(at: offset).dropFirst(offset).prefix(size))
        case .root, .control:
            fuse_reply_err(request, EACCES)
        }
    }

    private static func reply(_ request: fuse_req_t, _ document: ArraySlice<UInt8>) {
        document.withUnsafeBytes { bytes in
            _ = fuse_reply_buf(request, bytes.bindMemory(to: CChar.self).baseAddress, bytes.count)
        }
    }

    private static func write(
        _ request: fuse_req_t?, _ inode: fuse_ino_t, _ bytes: UnsafePointer<CChar>?, _ size: Int, _ offset: Int
    ) {
        guard let request, let server = server(of: request), let node = Node(rawValue: inode) else { return }
        let bytes = UnsafeRawBufferPointer(start: bytes, count: size)
        switch node {
        case .disk where server.isFailing:
            fuse_reply_err(request, EIO)
        case .disk:
            // The bytes are the kernel's only during this call. Whoever reads them before the model has answered
            // races with the write, and may see either state.
            let count = server.store.write(bytes, at: offset)
            guard count >= 0 else {
                fuse_reply_err(request, Int32(-count))
                return
            }
            let isLogged = server.writeLog?.append(UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: offset)
            guard isLogged != false else {
                fuse_reply_err(request, EIO)
                return
            }
            let pending = PendingRequest(request: request)
            server.clock.submit(.write, offset: offset, length: count) {
                fuse_reply_write(pending.request, count)
            }
        case .control:
            if server.obey(String(decoding: bytes, as: UTF8.self)) {
                fuse_reply_write(request, size)
            } else {
                fuse_reply_err(request, EINVAL)
            }
        case .root, .statistics, .trace:
            fuse_reply_err(request, EACCES)
        }
    }

    private static func flush(_ request: fuse_req_t?, _ inode: fuse_ino_t) {
        guard let request, let server = server(of: request), inode == Node.disk.rawValue else {
            fuse_reply_err(request, 0)
            return
        }
        guard !server.isFailing else {
            fuse_reply_err(request, EIO)
            return
        }
        server.flush()
        let pending = PendingRequest(request: request)
        server.clock.submit(.flush) {
            fuse_reply_err(pending.request, 0)
        }
    }
}
