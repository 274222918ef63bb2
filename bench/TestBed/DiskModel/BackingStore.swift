import CLinux
import Glibc

/// Where the modelled disk's bytes really are: a sparse file, or memory that grows as it is written.
final class BackingStore: Sendable {
    let size: Int
    private let descriptor: Int32

    /// Opens or makes the sparse file at `path`, or takes memory when there is no path.
    init(path: String?, size: Int) throws(TestBedError) {
        let name = path ?? "memory for the disk"
        descriptor = path.map { open($0, O_RDWR | O_CREAT | O_CLOEXEC, 0o600) } ?? linux_memfd_create("disk-model")
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(name)") }
        guard ftruncate(descriptor, size) == 0 else {
            let error = TestBedError.lastSystemError("set the size of \(name) to \(size) bytes")
            close(descriptor)
            throw error
        }
        self.size = size
    }

    deinit {
        close(descriptor)
    }

    /// Reads what lies inside the disk; the number of bytes, or the negative `errno`.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
        guard offset >= 0, offset < size else { return 0 }
        let count = pread(descriptor, buffer.baseAddress, min(buffer.count, size - offset), offset)
        return count < 0 ? -Int(errno) : count
    }

    /// Writes what lies inside the disk; the number of bytes, or the negative `errno`.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
        guard offset >= 0, offset < size else { return -Int(ENOSPC) }
        let count = pwrite(descriptor, bytes.baseAddress, min(bytes.count, size - offset), offset)
        return count < 0 ? -Int(errno) : count
    }
}
