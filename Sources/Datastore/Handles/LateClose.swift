import BlockStorage
import Glibc

/// Closes descriptors, on a thread that no client waits for where that may take long: the last descriptor of a file without
/// a name takes the file's blocks along, of which there may be very many.
enum LateClose {
    /// Where they are closed, one after the other.
    static let pool = IOPool(name: "late-close", threadCount: 1)

    static func close(_ descriptor: Int32, _ type: FileType = .regular) {
        var status = stat()
        guard type == .regular, fstat(descriptor, &status) == 0, status.st_nlink == 0 else {
            Glibc.close(descriptor)
            return
        }
        pool.submit { Glibc.close(descriptor) }
    }
}
