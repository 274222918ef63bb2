import BlockStorage
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
        let address = mmap(nil, pages.length, PROT_READ, MAP_SHARED, descriptor.rawValue, pages.offset)
        guard let address, address != MAP_FAILED else { return try flush() }
        defer { munmap(address, pages.length) }
        guard msync(address, pages.length, MS_SYNC) == 0 else {
            defer { forgetFailedWrites() }
            throw StorageError.lastSystemError(operation: "flush", device: path, range: range)
        }
    }

    /// Makes everything written durable, the attributes included.
    func flush() throws(StorageError) {
        state.withLock { $0.isDirty = false }
        try synchronize(fsync)
    }

    /// Makes the unstable writes durable that `range`, nil for the whole file, has taken.
    ///
    /// Nothing waits for the disk if all of them are durable: they were flushed, or the redirect log has them. Writes
    /// are counted when the file has taken them and before they are acknowledged, so that a write that this flush may
    /// have missed is never among those that it counts as flushed (invariant 1).
    ///
    /// Where the log takes writes, the first flush is one of the whole file: what comes after it may need none.
    func commit(_ range: ByteRange?) throws(StorageError) {
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
        if forgotten.load(ordering: .sequentiallyConsistent) { try flush() }
    }

    /// The table of open files is about to forget this one.
    func noteForgotten() { forgotten.store(true, ordering: .sequentiallyConsistent) }

    private func synchronize(_ call: (Int32) -> Int32) throws(StorageError) {
        guard call(descriptor.rawValue) == 0 else {
            defer { forgetFailedWrites() }
            throw StorageError.lastSystemError(operation: "flush", device: path)
        }
    }

    /// Drops what a failed flush or stable write has left in memory.
    ///
    /// The kernel counts such pages as clean. ext4 moreover holds their extents for written: what is written to them
    /// again, and flushed without an error, is zeros after the next mount. Pages that are read anew are safe to write.
    func forgetFailedWrites() {
        cache.removeAll(image: cacheID)
        posix_fadvise(descriptor.rawValue, 0, 0, POSIX_FADV_DONTNEED)
    }

    /// Whether something was written that no flush of the whole file has made durable; a time of change counts, too.
    var isDirty: Bool { state.withLock { $0.isDirty } }
}
