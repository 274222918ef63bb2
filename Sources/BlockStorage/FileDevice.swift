import CLinux
import Glibc

/// A file or block special file as a device, through the page cache or past it.
public final class FileDevice: BlockDevice {
    /// Whether writes are allowed.
    public enum Access: Sendable {
        /// Reading only.
        case readOnly
        /// Reading and writing.
        case readWrite
    }

    /// How the bytes travel.
    public enum Mode: Sendable {
        /// Through the kernel's page cache.
        case buffered
        /// Past the page cache (`O_DIRECT`) where the file system allows it, otherwise buffered.
        case directIfPossible
    }

    /// What errors call the file.
    public let name: String
    /// Whether reads and writes pass the page cache by.
    public let isDirect: Bool
    private let descriptor: Int32
    private let access: Access

    /// Opens `path`, which must exist.
    ///
    /// - Parameter name: what errors call the file; nil for `path`.
    public convenience init(path: String, access: Access, mode: Mode, name: String? = nil) throws(StorageError) {
        try self.init(location: ByteString(path), access: access, mode: mode, name: name ?? path)
    }

    /// Opens the file whose path has these bytes.
    ///
    /// - Parameter name: what errors call the file.
    public init(location: ByteString, access: Access, mode: Mode, name: String) throws(StorageError) {
        let flags = (access == .readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC
        var descriptor: Int32 = -1
        if mode == .directIfPossible {
            descriptor = location.withCString { open($0, flags | linux_o_direct) }
        }
        isDirect = descriptor >= 0
        if descriptor < 0 {
            descriptor = location.withCString { open($0, flags) }
        }
        guard descriptor >= 0 else {
            throw StorageError.lastSystemError(operation: "open", device: name)
        }
        self.descriptor = descriptor
        self.access = access
        self.name = name
    }

    deinit {
        close(descriptor)
    }

    /// The size in bytes; 0 when it cannot be told.
    public var size: Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return 0 }
        if status.st_mode & S_IFMT == S_IFBLK {
            return max(0, lseek(descriptor, 0, SEEK_END))
        }
        return status.st_size
    }

    /// Fills `buffer` from `offset`.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        guard !buffer.isEmpty else { return }
        LockRank.willWait(for: "a read")
        let range = ByteRange(offset: offset, length: buffer.count)
        guard isDirect, !Self.isAligned(UnsafeRawBufferPointer(buffer), at: offset) else {
            return try readFully(into: buffer, at: offset)
        }
        let whole = range.aligned(to: AlignedBuffer.alignment)
        let bounce = AlignedBuffer(count: whole.length)
        let wanted = min(whole.length, max(range.end - whole.offset, size - whole.offset))
        try readFully(into: bounce.bytes, at: whole.offset, needing: wanted)
        let start = range.offset - whole.offset
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bounce.bytes[start..<start + range.length]))
    }

    /// The next bytes of `range` that the file has blocks for; holes read as zeros.
    public func nextData(in range: ByteRange) -> ByteRange? {
        guard !range.isEmpty else { return nil }
        let data = lseek(descriptor, range.offset, linux_seek_data)
        // A device, or a file system without holes. Past the end there is nothing, which reading has to find out.
        guard data >= 0 || errno == ENXIO && range.end <= size else { return range }
        guard data >= 0, data < range.end else { return nil }
        let hole = lseek(descriptor, data, linux_seek_hole)
        let end = hole > data ? min(hole, range.end) : range.end
        return ByteRange(offset: data, length: end - data)
    }

    /// Writes `bytes` at `offset`.
    ///
    /// A direct device writes whole aligned blocks only; what is not aligned goes through the page cache.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        LockRank.willWait(for: "a write")
        let range = ByteRange(offset: offset, length: bytes.count)
        guard access == .readWrite else {
            throw StorageError(.readOnly, operation: "write", device: name, range: range)
        }
        guard isDirect, !Self.isAligned(bytes, at: offset) else {
            return try writeFully(bytes, at: offset, to: descriptor)
        }
        let buffered = open("/proc/self/fd/\(descriptor)", O_WRONLY | O_CLOEXEC)
        guard buffered >= 0 else {
            throw StorageError.lastSystemError(operation: "write", device: name, range: range)
        }
        defer { close(buffered) }
        try writeFully(bytes, at: offset, to: buffered)
    }

    /// `fdatasync`.
    public func flush() throws(StorageError) {
        LockRank.willWait(for: "a flush")
        guard fdatasync(descriptor) == 0 else {
            throw StorageError.lastSystemError(operation: "flush", device: name)
        }
    }

    private static func isAligned(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        let address = Int(bitPattern: bytes.baseAddress)
        return (offset | bytes.count | address) & (AlignedBuffer.alignment - 1) == 0
    }

    /// Reads until `buffer` is full, or, given `needed`, until that many bytes are there: the file may end between.
    private func readFully(
        into buffer: UnsafeMutableRawBufferPointer, at offset: Int, needing needed: Int? = nil
    ) throws(StorageError) {
        let needed = needed ?? buffer.count
        var done = 0
        while done < needed {
            let count = pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, offset + done)
            if count < 0, errno == EINTR { continue }
            let range = ByteRange(offset: offset + done, length: needed - done)
            guard count >= 0 else {
                throw StorageError.lastSystemError(operation: "read", device: name, range: range)
            }
            guard count > 0 else {
                throw StorageError(.unexpectedEnd, operation: "read", device: name, range: range)
            }
            done += count
        }
    }

    private func writeFully(_ bytes: UnsafeRawBufferPointer, at offset: Int, to descriptor: Int32) throws(StorageError)
    {
        var done = 0
        while done < bytes.count {
            let count = pwrite(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, offset + done)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                let range = ByteRange(offset: offset + done, length: bytes.count - done)
                throw StorageError.lastSystemError(operation: "write", device: name, range: range)
            }
            done += count
        }
    }
}
