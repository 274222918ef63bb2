import BlockStorage
import CLinux
import Glibc
import Tiering

extension OpenFile {
    /// Reads without waiting for the disk: all of `buffer`, or nothing that counts.
    func readWithoutWaiting(_ range: ByteRange, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        if isCached {
            return cache.read(image: cacheID, range: range, into: buffer)
        }
        // To be asked first: what is moved to the file meanwhile can be read there.
        guard redirects?.hasRedirect(range) != true else { return false }
        let flags = linux_rwf_nowait
        return linux_preadv2(descriptor.rawValue, buffer.baseAddress, range.length, range.offset, flags) == range.length
    }

    /// A window for each of some streams.
    private static let mostReadAheads = 8

    /// What should be read ahead, now that a client has read `range`.
    func noteRead(_ range: ByteRange, fileSize: Int) -> ByteRange? {
        guard isCached else { return nil }
        return sequentialReads.withLock { $0.note(range, fileSize: fileSize) }
    }

    /// Has the read-ahead of `range` done by `submit`, unless it is cached or too much is under way already.
    func readAhead(_ range: ByteRange, _ submit: (@escaping @Sendable () -> Void) -> Void) {
        guard let member, missingByteCount(of: range) > 0 else { return }
        guard readAheads.add(1, ordering: .relaxed).newValue <= Self.mostReadAheads else {
            readAheads.subtract(1, ordering: .relaxed)
            return
        }
        submit {
            // A failure is the client's to see when it asks for these bytes.
            try? self.load(range, kinds: .ofMember(member, for: .readAhead))
            self.readAheads.subtract(1, ordering: .relaxed)
        }
    }

    /// Reads `range`, which lies inside the file, from the cache or the disk.
    func read(_ range: ByteRange, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
        guard isCached, let member else {
            return try withRedirects(of: range, into: buffer) { () throws(StorageError) in
                try Self.readFully(descriptor.rawValue, range, into: buffer, name: path)
            }
        }
        for part in cache.readPresent(image: cacheID, range: range, into: buffer) {
            let start = part.offset - range.offset
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + part.length])
            try readMissing(part, into: target, kinds: .ofMember(member, for: .read))
        }
    }

    /// Reads what is not cached of `range` and caches it; for read-ahead and scans.
    func load(_ range: ByteRange, kinds: PageKinds) throws(StorageError) {
        for part in cache.missing(image: cacheID, range: range) {
            try readMissing(part, into: nil, kinds: kinds)
        }
    }

    /// How many bytes of `range` are not cached.
    func missingByteCount(of range: ByteRange) -> Int {
        cache.missing(image: cacheID, range: range).reduce(0) { $0 + $1.length }
    }

    /// Reads `range` if the cache has all of it, for a scan: it counts as no hit.
    func readCached(_ range: ByteRange, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        cache.read(image: cacheID, range: range, into: buffer, countsHits: false)
    }

    /// Reads `range` as the cache shows it, caching what it lacks as `kinds` says.
    func read(
        _ range: ByteRange, kinds: PageKinds, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        guard !readCached(range, into: buffer) else { return }
        try readMissing(range, into: buffer, kinds: kinds)
    }

    /// Reads whole pages around `range` from the disk, caches them unless a write came between, and copies `range`.
    private func readMissing(
        _ range: ByteRange, into target: UnsafeMutableRawBufferPointer?, kinds: PageKinds
    ) throws(StorageError) {
        let pages = range.aligned(to: PageCache.pageSize)
        guard let ticket = ranges.beginFill(pages) else {
            return try readAfterOthers(range, into: target, kinds: kinds)
        }
        var isRead = false
        defer { if !isRead { ranges.endFill(ticket) {} } }
        try buffers.withBuffer(pages.length) { (buffer) throws(StorageError) in
            let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<pages.length])
            try readDirect(pages, needing: range.end - pages.offset, into: bytes)
            if let target, let base = target.baseAddress, let source = bytes.baseAddress {
                memcpy(base, source + (range.offset - pages.offset), range.length)
            }
            isRead = true
            // Before the fill ends: the classes are under the image's lock, which others may hold for long.
            let runs = kinds.runs(of: pages)
            ranges.endFill(ticket) {
                for (run, kind) in runs {
                    let start = run.offset - pages.offset
                    let part = UnsafeRawBufferPointer(rebasing: bytes[start..<start + run.length])
                    cache.insert(
                        image: cacheID, offset: run.offset, bytes: part, kind: kind, admission: kinds.admission)
                }
            }
        }
        kinds.countMisses(of: pages, image: cacheID, in: cache)
    }

    /// Another fill of these pages has just ended: they are in the cache, unless a write or a full cache kept them out.
    private func readAfterOthers(
        _ range: ByteRange, into target: UnsafeMutableRawBufferPointer?, kinds: PageKinds
    ) throws(StorageError) {
        guard let target else { return }
        guard !cache.read(image: cacheID, range: range, into: target) else { return }
        let pages = range.aligned(to: PageCache.pageSize)
        try buffers.withBuffer(pages.length) { (buffer) throws(StorageError) in
            let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<pages.length])
            try readDirect(pages, needing: range.end - pages.offset, into: bytes)
            guard let base = target.baseAddress, let source = bytes.baseAddress else { return }
            memcpy(base, source + (range.offset - pages.offset), range.length)
        }
        kinds.countMisses(of: pages, image: cacheID, in: cache)
    }

    /// Reads `range` with `readFile`, and what is redirected of it from the log.
    private func withRedirects(
        of range: ByteRange, into buffer: UnsafeMutableRawBufferPointer, _ readFile: () throws(StorageError) -> Void
    ) throws(StorageError) {
        guard let redirects else { return try readFile() }
        try redirects.read(range, into: buffer, readImage: readFile)
    }

    /// Fills `bytes` with `pages`, which may reach past the end of the file (zeros stand there), from the log or past
    /// the kernel's page cache where the file system allows it.
    private func readDirect(
        _ pages: ByteRange, needing needed: Int, into bytes: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        try withRedirects(of: pages, into: bytes) { () throws(StorageError) in
            try readFileDirect(pages, needing: needed, into: bytes)
        }
    }

    private func readFileDirect(
        _ pages: ByteRange, needing needed: Int, into bytes: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        var file = directReader()
        guard let base = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            let count = pread(file, base + done, bytes.count - done, pages.offset + done)
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EINVAL, file != descriptor.rawValue {
                // The file system opens for direct I/O and then wants an alignment that we do not have.
                file = descriptor.rawValue
                continue
            }
            guard count >= 0 else {
                throw StorageError.lastSystemError(operation: "read", device: path, range: pages)
            }
            if count == 0 { break }
            done += count
            if done % PageCache.pageSize != 0 { break }
        }
        guard done >= needed else {
            throw StorageError(.unexpectedEnd, operation: "read", device: path, range: pages)
        }
        memset(base + done, 0, bytes.count - done)
    }

    private static func readFully(
        _ file: Int32, _ range: ByteRange, into buffer: UnsafeMutableRawBufferPointer, name: @autoclosure () -> String
    ) throws(StorageError) {
        var done = 0
        while done < range.length {
            let count = pread(file, buffer.baseAddress.map { $0 + done }, range.length - done, range.offset + done)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw StorageError.lastSystemError(operation: "read", device: name(), range: range)
            }
            guard count > 0 else {
                throw StorageError(.unexpectedEnd, operation: "read", device: name(), range: range)
            }
            done += count
        }
    }
}
