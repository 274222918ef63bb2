import BlockStorage
import CLinux
import Glibc
import Synchronization
import Tiering

/// What the server keeps of a file while it is not open, too.
struct FileState {
    /// Its blocks on the fast device, if there is one.
    let redirects: FileRedirects?
    /// Whether its times of change may be durable later than its bytes.
    let lateTimes: LateTimes
}

/// One file that clients read and write: its descriptors, what is under way on it, and what is known of it.
///
/// Files that belong to a recognised disk image are read past the kernel's page cache and kept in ours, by class; all
/// others go through the kernel's page cache like any file.
final class OpenFile: Sendable {
    /// The file's place in the file system, which no two files share at one time.
    struct Identity: Hashable, Sendable {
        let device: UInt64
        let inode: UInt64
    }

    /// What changes from write to write.
    private struct State {
        /// What the last of our writes left; a later change without one of ours is somebody else's.
        var lastChange: WeakCacheConsistency.Attributes?
        /// How often somebody else's change was found, and the last of them until what was known is forgotten.
        var foreignChanges: UInt64 = 0
        var pendingForeignChange: UInt64?
        var lastWrite: ContinuousClock.Instant?
        var isDirty = false
        var needsIdentification = true
        var member: ImageSession.Member?
        /// The file's path when it became part of the image.
        var memberPath: String?
        /// Whether readers may have seen the file's number in the cache.
        var wasCached = false

        /// Notes what the file looks like while no write of ours is under way.
        mutating func noteContents(_ now: WeakCacheConsistency.Attributes) {
            defer { lastChange = now }
            guard let lastChange, !lastChange.hasSameContents(as: now) else { return }
            foreignChanges += 1
            pendingForeignChange = foreignChanges
        }
    }

    /// A window for each of some streams.
    private static let mostReadAheads = 8

    let identity: Identity
    let descriptor: OwnedDescriptor
    let ranges = RangeTable()
    /// The file's blocks on the fast device, if there is one.
    let redirects: FileRedirects?
    /// Whether stable writes may leave the time of change for later; nil where they may not.
    let lateTimes: LateTimes?
    /// Unstable writes that the file has taken, and how many of them flushes of the whole file have made durable. What
    /// it took before it was opened counts as one.
    private let unstableWrites = Atomic(1)
    private let flushedWrites = Atomic(0)
    /// Whether the table of open files has forgotten this one, so that the file may be open anew.
    private let forgotten = Atomic(false)
    /// Read-aheads that were submitted and have not ended.
    private let readAheads = Atomic(0)
    /// Calls of clients on this file that wait for the disk; see ``BackgroundWork``.
    let waitingCalls = Atomic(0)
    private let directDescriptor: Int32
    private let cache: PageCache
    private let buffers: BufferPool
    private let sequentialReads = Locked(SequentialReads())
    private let state = Locked(State())
    /// Whether reads are answered from our cache: the image is recognised. Read on every access, hence not in `state`.
    private let cached = Atomic(false)
    private let used = Atomic(true)
    private let cacheNumber = Atomic<UInt32>(0)

    init(_ descriptor: OwnedDescriptor, cache: PageCache, buffers: BufferPool, state: FileState?) {
        redirects = state?.redirects
        lateTimes = state?.lateTimes
        identity = Identity(device: descriptor.device, inode: descriptor.inode)
        self.descriptor = descriptor
        self.cache = cache
        self.buffers = buffers
        directDescriptor = open("/proc/self/fd/\(descriptor.rawValue)", O_RDONLY | O_CLOEXEC | linux_o_direct)
    }

    deinit {
        cache.removeImage(cacheID)
        if directDescriptor >= 0 { close(directDescriptor) }
    }

    /// A path by which the file was known when it was opened or renamed last; for messages and for finding an
    /// image's other files.
    var path: String { descriptor.currentPath ?? "inode \(identity.inode)" }

    /// How large the file may become.
    var limits: FileSystemLimits { descriptor.root.limits }

    /// The number of the file's pages in the cache; 0, under which none are kept, for files that are no images.
    var cacheID: UInt32 { cacheNumber.load(ordering: .acquiring) }

    /// Whether the file has got another path since it became part of an image. True once per change.
    func takeRename() -> Bool {
        let path = descriptor.currentPath
        return state.withLock { state in
            guard state.member != nil, state.memberPath != path else { return false }
            state.memberPath = path
            return true
        }
    }

    /// Whether reads are answered from the page cache of ours.
    var isCached: Bool { cached.load(ordering: .acquiring) }

    /// The image that the file is part of, if introspection follows it.
    var member: ImageSession.Member? { state.withLock { $0.member } }

    /// The size in bytes.
    func size() throws(StorageError) -> Int {
        var status = stat()
        guard fstat(descriptor.rawValue, &status) == 0 else {
            throw StorageError.lastSystemError(operation: "stat", device: path)
        }
        return status.st_size
    }

    /// Notes a client's access, for ``takeUse()``.
    func markUsed() { used.store(true, ordering: .relaxed) }

    /// Whether a client used the file since the last call.
    func takeUse() -> Bool { used.exchange(false, ordering: .relaxed) }

    // MARK: Membership of an image

    /// Lets introspection follow the file, or stop following it; waits for the writes under way.
    func setMember(_ member: ImageSession.Member?) {
        ranges.whileNoWrite {
            state.withLock {
                $0.member = member
                $0.memberPath = member == nil ? nil : descriptor.currentPath
                $0.needsIdentification = false
            }
        }
        if member == nil { setCached(false) }
    }

    /// Switches between our cache and the kernel's.
    func setCached(_ isCached: Bool) {
        let isCached = isCached && member != nil && cacheID > 0
        if isCached { state.withLock { $0.wasCached = true } }
        cached.store(isCached, ordering: .releasing)
        if !isCached { cache.removeAll(image: cacheID) }
    }

    /// Gets the file a number in the cache, for a scan that fills it; returns whether there was one.
    func takeCacheNumber() -> Bool {
        ranges.inspect { _ in
            if cacheID == 0 { cacheNumber.store(cache.addImage() ?? 0, ordering: .releasing) }
            return cacheID > 0
        }
    }

    /// Gives the number back of a file that turned out to be no image.
    ///
    /// A number that readers may have seen stays the file's as long as it is open: under it they must never find
    /// another file's pages.
    func returnCacheNumber() {
        ranges.whileNoWrite {
            guard !state.withLock({ $0.wasCached }) else { return }
            cache.removeImage(cacheNumber.exchange(0, ordering: .acquiringAndReleasing))
        }
    }

    /// What the cache has counted of the file.
    var cacheStatistics: CacheStatistics { cache.statistics(of: cacheID) }

    /// Whether the file should be looked at (again) because it is new or has grown, and nobody has written to it for
    /// `quiet`; asking counts as an answer.
    func takeIdentificationRequest(quiet: Duration) -> Bool {
        state.withLock { state in
            guard state.needsIdentification else { return false }
            if let lastWrite = state.lastWrite, ContinuousClock.now - lastWrite < quiet { return false }
            state.needsIdentification = false
            return true
        }
    }

    func requestIdentification() {
        state.withLock { $0.needsIdentification = true }
    }

    // MARK: Changes

    /// Notes what a write of ours left, so that it is not taken for somebody else's.
    ///
    /// - Parameter before: what the write found, if no other was under way.
    /// - Returns: the number of somebody else's change that came before it, for ``endForeignChange(_:)``.
    @discardableResult func noteOwnChange(
        _ attributes: FileAttributes, since before: WeakCacheConsistency.Attributes? = nil, hasGrown: Bool,
        isDurable: Bool
    ) -> UInt64? {
        state.withLock {
            if let before { $0.noteContents(before) }
            $0.lastChange = attributes.consistency
            if !isDurable { $0.isDirty = true }
            guard hasGrown || $0.needsIdentification else { return $0.pendingForeignChange }
            $0.lastWrite = .now
            $0.needsIdentification = true
            return $0.pendingForeignChange
        }
    }

    /// Whether the file has been changed behind our back, given its attributes a moment ago.
    ///
    /// - Returns: the change's number, for whoever asks until ``endForeignChange(_:)``: nobody may go by what was known
    ///   before.
    func foreignChange(_ attributes: FileAttributes) -> UInt64? {
        let isAsKnown = state.withLock {
            $0.pendingForeignChange == nil && $0.lastChange?.hasSameContents(as: attributes.consistency) == true
        }
        guard !isAsKnown else { return nil }
        // They may be older than a write of ours: what counts is how the file looks while nothing is under way.
        return ranges.inspect { isIdle in
            let now = isIdle ? try? descriptor.attributes().consistency : nil
            return state.withLock { state in
                if let now { state.noteContents(now) }
                return state.pendingForeignChange
            }
        }
    }

    /// What was known of the contents before somebody else's change is forgotten.
    func endForeignChange(_ number: UInt64) {
        state.withLock { if $0.pendingForeignChange == number { $0.pendingForeignChange = nil } }
    }

    // MARK: Durability

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

    // MARK: Writing to the cache

    /// Shows the bytes of a write to readers: whole pages are cached by what they were before the write, or look like
    /// now, so that the guest's metadata is in RAM from the moment it is written; parts of pages are updated where they
    /// are cached.
    func cacheWrite(_ bytes: UnsafeRawBufferPointer, at offset: Int, member: ImageSession.Member) {
        guard isCached else { return cache.update(image: cacheID, offset: offset, bytes: bytes) }
        let range = ByteRange(offset: offset, length: bytes.count)
        let kinds = PageKinds.ofWrite(bytes, at: offset, member)
        kinds.forEachRun(of: range.aligned(to: PageCache.pageSize)) { run, kind in
            guard let part = run.intersection(range) else { return }
            let source = UnsafeRawBufferPointer(rebasing: bytes[part.offset - offset..<part.end - offset])
            if let kind {
                cache.insert(
                    image: cacheID, offset: part.offset, bytes: source, kind: kind, admission: kinds.admission)
            } else {
                cache.update(image: cacheID, offset: part.offset, bytes: source)
            }
        }
    }

    /// Takes everything out of the cache, and keeps out what is being read.
    func forgetPages() {
        ranges.dropFills { cache.removeAll(image: cacheID) }
    }

    /// Takes pages out of the cache that may not be what the file holds.
    func forgetPages(of range: ByteRange) {
        cache.remove(image: cacheID, range: range.aligned(to: PageCache.pageSize))
    }

    // MARK: Reading

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
            ranges.endFill(ticket) {
                kinds.forEachRun(of: pages) { run, kind in
                    guard let kind else { return }
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
        var file = directDescriptor >= 0 ? directDescriptor : descriptor.rawValue
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
