import CLinux
import Glibc

/// A file that may be a disk image, open for reading what identifies it.
struct ImageFile: ~Copyable {
    /// The path that was opened.
    let path: String
    /// The size in bytes.
    let size: Int
    private let descriptor: Int32

    /// Opens a regular file or a block device.
    init(path: String, in files: HostFiles) throws(ImageError) {
        // Without O_NONBLOCK a named pipe would hold us until someone writes to it.
        let descriptor = files.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw ImageError.lastSystemError("open", path: path) }
        do throws(ImageError) {
            size = try Self.size(of: descriptor, path: path)
        } catch {
            close(descriptor)
            throw error
        }
        self.path = path
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// The bytes from `offset`, `count` of them or as many as the file has.
    func read(at offset: Int, count: Int) throws(ImageError) -> [UInt8] {
        var failed = false
        let bytes = [UInt8](unsafeUninitializedCapacity: max(0, min(count, size - offset))) { buffer, done in
            while done < buffer.count {
                let count = pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, offset + done)
                if count < 0, errno == EINTR { continue }
                failed = count < 0
                guard count > 0 else { return }
                done += count
            }
        }
        guard !failed else { throw ImageError.lastSystemError("read", path: path) }
        return bytes
    }

    /// The size of the file that a descriptor names as an extent: a regular file, and not through a symbolic link,
    /// which might lead anywhere.
    static func sizeOfExtent(path: String, in files: HostFiles) throws(ImageError) -> Int {
        let descriptor = files.open(path, linux_o_path | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { throw ImageError.lastSystemError("extent", path: path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw ImageError.lastSystemError("extent", path: path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw ImageError(.forbiddenFile, path: path, message: "an extent that is no regular file")
        }
        return Int(status.st_size)
    }

    private static func size(of descriptor: Int32, path: String) throws(ImageError) -> Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw ImageError.lastSystemError("stat", path: path) }
        switch status.st_mode & S_IFMT {
        case S_IFREG:
            return Int(status.st_size)
        case S_IFBLK:
            let end = lseek(descriptor, 0, SEEK_END)
            guard end >= 0 else { throw ImageError.lastSystemError("seek", path: path) }
            return Int(end)
        default:
            throw ImageError(
                .forbiddenFile, path: path, message: "neither a regular file nor a block device, so no disk image")
        }
    }
}
