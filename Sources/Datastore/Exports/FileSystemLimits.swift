import BlockStorage
import CLinux
import Glibc

/// How large files get and how finely times are kept in a file system, found by trying.
struct FileSystemLimits: Sendable {
    /// The most bytes a file can have.
    let maximumFileSize: UInt64
    /// The smallest step between two times.
    let timeGranularity: FileTime

    /// The bytes that untrusted numbers name; nil where no file can have them all.
    func range(offset: UInt64, length: UInt64) -> ByteRange? {
        guard let range = ByteRange(checkedOffset: offset, length: length), UInt64(range.end) <= maximumFileSize else {
            return nil
        }
        return range
    }

    /// Tries on a nameless file in `directory`; where none can be made, asks pathconf(3) and takes whole seconds.
    init(of directory: Int32) {
        let file = openat(directory, ".", linux_o_tmpfile | O_RDWR | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            let bits = fpathconf(directory, Int32(_PC_FILESIZEBITS))
            maximumFileSize = (2...63).contains(bits) ? (1 << UInt64(bits - 1)) - 1 : UInt64(Int64.max)
            timeGranularity = FileTime(seconds: 1, nanoseconds: 0)
            return
        }
        defer { close(file) }
        maximumFileSize = Self.largestOffset(in: file)
        timeGranularity = Self.granularity(of: file)
    }

    /// `lseek` refuses offsets past the largest size.
    private static func largestOffset(in file: Int32) -> UInt64 {
        var low = 0
        var high = Int.max
        while low < high {
            let middle = low + (high - low) / 2 + 1
            if lseek(file, middle, SEEK_SET) == middle {
                low = middle
            } else {
                high = middle - 1
            }
        }
        return UInt64(low)
    }

    private static func granularity(of file: Int32) -> FileTime {
        let probe = 123_456_789
        var times = [timespec(tv_sec: 1_000_000_000, tv_nsec: probe), timespec(tv_sec: 1_000_000_000, tv_nsec: probe)]
        var status = stat()
        guard futimens(file, &times) == 0, fstat(file, &status) == 0 else {
            return FileTime(seconds: 1, nanoseconds: 0)
        }
        var step = 1
        while step < 1_000_000_000, status.st_mtim.tv_nsec != probe / step * step {
            step *= 10
        }
        guard step < 1_000_000_000 else { return FileTime(seconds: 1, nanoseconds: 0) }
        return FileTime(seconds: 0, nanoseconds: UInt32(step))
    }
}
