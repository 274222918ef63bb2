import Glibc

/// The verifier of an exclusive CREATE, kept where it survives a restart: in the new file's times.
///
/// Each half is the seconds of one time, as a signed 32-bit number, which every file system with 32-bit times can
/// hold. The nanoseconds mark such times; where the marks are seen, the change time is shown instead, so that no
/// client ever meets the odd times, and SETATTR replaces them.
enum ExclusiveCreation {
    private static let accessMark = 487_211_803
    private static let modificationMark = 911_382_323

    /// Whether the file's access time carries half a verifier.
    static func isMarkedAccessTime(_ status: stat) -> Bool {
        isMarked(status.st_atim, accessMark)
    }

    /// Whether the file's modification time carries half a verifier.
    static func isMarkedModificationTime(_ status: stat) -> Bool {
        isMarked(status.st_mtim, modificationMark)
    }

    /// The kernel clears the nanoseconds of the first and last second that a file system can hold.
    private static func isMarked(_ time: timespec, _ mark: Int) -> Bool {
        let isExtreme = time.tv_sec == Int(Int32.min) || time.tv_sec == Int(Int32.max)
        return time.tv_nsec == mark || (isExtreme && time.tv_nsec == 0)
    }

    /// Puts `verifier` into the times of `file`; throws `notSupported` when the file system cannot keep them.
    static func store(_ verifier: UInt64, in file: OwnedDescriptor) throws(DatastoreError) {
        let halves = seconds(of: verifier)
        let times = [
            timespec(tv_sec: halves.access, tv_nsec: accessMark),
            timespec(tv_sec: halves.modification, tv_nsec: modificationMark),
        ]
        guard futimens(file.rawValue, times) == 0 else { throw DatastoreError.lastSystemError("create") }
        guard try holds(verifier, in: file) else {
            throw DatastoreError(.notSupported, "create: the file system cannot keep a verifier")
        }
    }

    /// Whether `file` was made by an exclusive CREATE with `verifier` and is as it was then.
    static func holds(_ verifier: UInt64, in file: OwnedDescriptor) throws(DatastoreError) -> Bool {
        var status = stat()
        guard fstat(file.rawValue, &status) == 0 else { throw DatastoreError.lastSystemError("create") }
        let halves = seconds(of: verifier)
        guard status.st_mode & S_IFMT == S_IFREG, status.st_size == 0,
            status.st_atim.tv_sec == halves.access, status.st_mtim.tv_sec == halves.modification
        else { return false }
        guard file.root.limits.timeGranularity == FileTime(seconds: 0, nanoseconds: 1) else { return true }
        return isMarkedAccessTime(status) && isMarkedModificationTime(status)
    }

    private static func seconds(of verifier: UInt64) -> (access: Int, modification: Int) {
        let high = Int32(truncatingIfNeeded: verifier >> 32)
        let low = Int32(truncatingIfNeeded: verifier)
        return (Int(high), Int(low))
    }
}
