import BlockStorage
import CLinux
import Glibc
import Tiering

extension OpenFile {
    /// Makes what was written to `range` durable, and returns without waiting for the rest of the file.
    ///
    /// `msync` of a mapping is the one system call that flushes a range of a file with everything needed to read it
    /// back; `sync_file_range` promises neither the file's metadata nor the drive's cache.
    func flush(_ range: ByteRange) throws(StorageError) {
        let pages = range.aligned(to: PageCache.pageSize)
        guard !pages.isEmpty else { return }
        let file = try descriptorToFlush()
        let address = mmap(nil, pages.length, PROT_READ, MAP_SHARED, file.rawValue, pages.offset)
        guard let address, address != MAP_FAILED else { return try flush() }
        defer { munmap(address, pages.length) }
        LockRank.willWait(for: "a flush")
        guard msync(address, pages.length, MS_SYNC) == 0 else {
            let error = StorageError.lastSystemError(operation: "flush", device: path, range: range)
            forgetFailedWrites()
            throw error
        }
    }

    /// Makes everything written durable, the attributes included.
    func flush() throws(StorageError) {
        state.withLock { $0.isDirty = false }
        try synchronize(fsync)
    }

    /// As ``flush()``, and throws when another's flush was told of what was lost.
    func flushAll() throws(StorageError) {
        let failures = writebackFailures.withLock { $0 }
        try flush()
        try checkWriteback(since: failures)
    }

    /// Makes it durable that the file, which is as long, is at least `end` bytes long.
    func makeLengthDurable(_ end: Int) throws(StorageError) {
        let known = durableLength.withLock { $0 }
        guard known.length < end else { return }
        let size = try size()
        try synchronize(fdatasync)
        durableLength.withLock { $0.note(size, since: known.cuts) }
    }

    /// Makes the unstable writes durable that `range`, nil for the whole file, has taken.
    ///
    /// Nothing waits for the disk if all of them are durable: they were flushed, or the redirect log has them. Writes
    /// are counted when the file has taken them and before they are acknowledged, so that a write that this flush may
    /// have missed is never among those that it counts as flushed (invariant 1).
    ///
    /// Where the log takes writes, the first flush is one of the whole file: what comes after it may need none.
    ///
    /// The kernel tells of a failed write-back once to each open file, and all flushes share one: whichever comes first
    /// takes the error from those beside it. Hence each ends with a look at ``writebackFailures``.
    func commit(_ range: ByteRange?) throws(StorageError) {
        let failures = writebackFailures.withLock { $0 }
        try flushWrites(range)
        try checkWriteback(since: failures)
    }

    private func flushWrites(_ range: ByteRange?) throws(StorageError) {
        let timeMayBeLate = lateTimes?.mayBeLate(path: path) == true
        let count = unstableWrites.load(ordering: .acquiring)
        let flushed = flushedWrites.load(ordering: .acquiring)
        guard flushed < count || !timeMayBeLate else { return }
        if let range, flushed > 0 || !timeMayBeLate || redirects == nil { return try flush(range) }
        if timeMayBeLate { try synchronize(fdatasync) } else { try flush() }
        if timeMayBeLate, lateTimes?.mayStillBeLate(path: path) != true { try flush() }
        flushedWrites.max(count, ordering: .acquiringAndReleasing)
    }

    /// Notes that the file has taken an unstable write, before it is acknowledged.
    ///
    /// A write that was under way when the file was forgotten is made durable here: a COMMIT that comes to the file
    /// opened anew does not know of it. One that ended before is flushed by that one's first COMMIT.
    func noteUnstableWrite() throws(StorageError) {
        unstableWrites.add(1, ordering: .sequentiallyConsistent)
        if isForgotten { try flush() }
    }

    /// Whether the table of open files has forgotten this one.
    var isForgotten: Bool { forgotten.load(ordering: .sequentiallyConsistent) }

    /// The table of open files is about to forget this one.
    func noteForgotten() { forgotten.store(true, ordering: .sequentiallyConsistent) }

    private func synchronize(_ call: (Int32) -> Int32) throws(StorageError) {
        let file = try descriptorToFlush()
        LockRank.willWait(for: "a flush")
        guard call(file.rawValue) == 0 else {
            let error = StorageError.lastSystemError(operation: "flush", device: path)
            forgetFailedWrites()
            throw error
        }
    }

    /// The one that is written to, or one of its own: never ``descriptor``, which must keep what the kernel has to tell.
    private func descriptorToFlush() throws(StorageError) -> OwnedDescriptor {
        if let open = openWriter { return open }
        return try reopened(O_RDONLY, "open for flushing")
    }

    /// Throws when writing the file back has failed since `failures` were counted, whoever was told.
    ///
    /// What is asked is a descriptor that nobody flushes, so that no flush can take the error away; and whoever finds it
    /// there has the verifier renewed before anybody else can ask. An answer with the old verifier hence comes only from
    /// those who asked before the failure (invariant 5).
    func checkWriteback(since failures: UInt64) throws(StorageError) {
        let isLost = findsLostWrites()
        guard isLost || writebackFailures.withLock({ $0 }) != failures else { return }
        if isLost { dropFailedPages() }
        throw StorageError(.system(EIO), operation: "flush beside one that failed", device: path)
    }

    /// Whether the kernel has a failed write-back to tell of; the verifier is renewed then.
    func findsLostWrites() -> Bool {
        writebackFailures.withLock { failures in
            guard linux_writeback_error(descriptor.rawValue) != 0, ![ESPIPE, EINVAL, ENOSYS].contains(errno) else {
                return false
            }
            failures += 1
            verifier.renew()
            return true
        }
    }

    /// A flush or a stable write has failed, and unstable data may be lost with it: the verifier is renewed, and what was
    /// left in memory dropped.
    func forgetFailedWrites() {
        writebackFailures.withLock { failures in
            // What is told here need not be told again.
            _ = linux_writeback_error(descriptor.rawValue)
            failures += 1
            verifier.renew()
        }
        dropFailedPages()
    }

    /// Drops what a failed write-back has left in memory.
    ///
    /// The kernel counts such pages as clean. ext4 moreover holds their extents for written: what is written to them
    /// again, and flushed without an error, is zeros after the next mount. Pages that are read anew are safe to write.
    private func dropFailedPages() {
        forgetPages()
        posix_fadvise(descriptor.rawValue, 0, 0, POSIX_FADV_DONTNEED)
    }

    /// Whether something was written that no flush of the whole file has made durable; a time of change counts, too.
    var isDirty: Bool { state.withLock { $0.isDirty } }
}
