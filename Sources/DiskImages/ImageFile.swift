import CLinux
import Glibc

/// A file that may be a disk image, open for reading what identifies it.
struct ImageFile: ~Copyable {
    /// The path that was opened.
    let path: String
    /// The size in bytes.
    let size: Int
    private let descriptor: Int32

    /// Opens a regular file, or a block device if `mayBeDevice` says so.
    ///
    /// What it is, is asked first: opening a device does something to some (a watchdog begins to run, a tape rewinds), and
    /// clients can make devices of any name.
    init(path: String, in files: HostFiles, mayBeDevice: Bool = false) throws(ImageError) {
        let place = files.open(files.location(of: path), linux_o_path | O_CLOEXEC)
        guard place >= 0 else { throw ImageError.lastSystemError("open", path: path) }
        defer { close(place) }
        try Self.checkType(of: place, path: path, mayBeDevice: mayBeDevice)
        let descriptor = open("/proc/self/fd/\(place)", O_RDONLY | O_CLOEXEC | O_NONBLOCK)
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

    /// The size of a file that a descriptor names as an extent: a regular file, and not through a symbolic link, which
    /// might lead anywhere.
    static func size(ofExtent file: HostFile, in files: HostFiles) throws(ImageError) -> Int {
        let descriptor = files.open(file.location, linux_o_path | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { throw ImageError.lastSystemError("extent", path: file.path) }
        defer { close(descriptor) }
        let status = try status(of: descriptor, path: file.path)
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw ImageError(.forbiddenFile, path: file.path, message: "an extent that is no regular file")
        }
        return Int(status.st_size)
    }

    private static func checkType(of descriptor: Int32, path: String, mayBeDevice: Bool) throws(ImageError) {
        switch try status(of: descriptor, path: path).st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFBLK where mayBeDevice: break
        default:
            let expected = mayBeDevice ? "neither a regular file nor a block device" : "no regular file"
            throw ImageError(.forbiddenFile, path: path, message: "\(expected), so no disk image")
        }
    }

    private static func size(of descriptor: Int32, path: String) throws(ImageError) -> Int {
        let status = try status(of: descriptor, path: path)
        guard status.st_mode & S_IFMT == S_IFBLK else { return Int(status.st_size) }
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else { throw ImageError.lastSystemError("seek", path: path) }
        return Int(end)
    }

    private static func status(of descriptor: Int32, path: String) throws(ImageError) -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw ImageError.lastSystemError("stat", path: path) }
        return status
    }
}
