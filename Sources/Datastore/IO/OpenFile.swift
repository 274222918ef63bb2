import BlockStorage
import CLinux
import DiskImages
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
    struct State {
        var external: ExternalChanges
        /// After the last change of ours.
        var size: UInt64
        var isDirty = false
        /// When the file was opened, renamed or last had another size; nil when it was looked at since.
        var needsIdentificationSince: ContinuousClock.Instant? = .now
        /// Noted only while the file needs to be looked at.
        var lastWrite: ContinuousClock.Instant?
        var member: ImageSession.Member?
        /// The file's path when that was asked for last.
        var lastPath: String?
        /// Whether readers may have seen the file's number in the cache.
        var wasCached = false

        /// Of a file that was opened just now and looked like `attributes`.
        init(_ attributes: FileAttributes, path: String?) {
            lastPath = path
            external = ExternalChanges(attributes.consistency)
            size = attributes.size
        }
    }

    let identity: Identity
    /// Open for reading. Nobody flushes it: see ``findsLostWrites()``.
    let descriptor: OwnedDescriptor
    /// Open for writing, as long as somebody writes.
    private let writable = Locked<OwnedDescriptor?>(nil, .file)
    private let hasWritten = Atomic(false)
    private let roundsWithoutWrite = Atomic(0)
    let verifier: WriteVerifier
    /// See ``findPath()``.
    private let foundPath = Locked<String?>(nil, .file)
    /// How often writing the file back was found to have failed.
    let writebackFailures = Locked<UInt64>(0, .file)
    let ranges = RangeTable()
    let accessControlList = AccessControlList()
    /// The file's blocks on the fast device, if there is one.
    let redirects: FileRedirects?
    /// Whether stable writes may leave the time of change for later; nil where they may not.
    let lateTimes: LateTimes?
    /// Unstable writes that the file has taken, and how many of them flushes of the whole file have made durable. What
    /// it took before it was opened counts as one.
    let unstableWrites = Atomic(1)
    let flushedWrites = Atomic(0)
    let durableLength = Locked(DurableLength(), .file)
    /// Whether another program has changed the image while the log had newer blocks of it.
    private let refused = Atomic(false)
    /// Whether the table of open files has forgotten this one, so that the file may be open anew.
    let forgotten = Atomic(false)
    /// Read-aheads that were submitted and have not ended.
    let readAheads = Atomic(0)
    /// Calls of clients on this file that wait for the disk; see ``BackgroundWork``.
    let waitingCalls = Atomic(0)
    /// Past the kernel's page cache; -1 where the file system does not allow that, nil before it is needed.
    private let directDescriptor = Locked<Int32?>(nil, .file)
    let cache: PageCache
    let buffers: BufferPool
    let sequentialReads = Locked(SequentialReads(), .file)
    let state: Locked<State>
    /// Whether reads are answered from our cache: the image is recognised. Read on every access, hence not in `state`.
    private let cached = Atomic(false)
    private let used = Atomic(true)
    private let cacheNumber = Atomic<UInt32>(0)

    init(
        _ descriptor: OwnedDescriptor, cache: PageCache, buffers: BufferPool, verifier: WriteVerifier, state: FileState?
    ) {
        self.verifier = verifier
        redirects = state?.redirects
        lateTimes = state?.lateTimes
        identity = Identity(device: descriptor.device, inode: descriptor.inode)
        self.descriptor = descriptor
        self.state = Locked(State(descriptor.openedAttributes, path: descriptor.currentPath), .file)
        self.cache = cache
        self.buffers = buffers
    }

    deinit {
        if cacheID > 0 { LateClose.pool.submit { [cache, cacheID] in cache.removeImage(cacheID) } }
        if let direct = directDescriptor.withLock({ $0 }), direct >= 0 { LateClose.close(direct) }
    }

    /// A path by which the file was known when it was opened or renamed last; for messages and for finding an
    /// image's other files.
    var path: String {
        let current = descriptor.currentPath
        if let current, isInExport(current) { return current }
        return foundPath.withLock { $0 } ?? current ?? "inode \(identity.inode)"
    }

    /// Whether ``path`` is one: of a file that was opened by its handle alone the kernel knows none.
    var isPathKnown: Bool {
        descriptor.currentPath.map(isInExport) == true || foundPath.withLock { $0 } != nil
    }

    /// Has the export looked through for the file's name, where none is known. Returns false as long as that takes, and is
    /// to be called again then.
    func findPath() -> Bool {
        guard !isPathKnown else { return true }
        switch descriptor.root.paths.place(of: descriptor) {
        case .isSought: return false
        case .isNowhere: return true
        case .isAt(let path):
            foundPath.withLock { $0 = path }
            return true
        }
    }

    /// Whether the file begins as the descriptor of an image does.
    var looksLikeDescriptor: Bool {
        let head = [UInt8](unsafeUninitializedCapacity: 512) { buffer, count in
            count = max(0, pread(descriptor.rawValue, buffer.baseAddress, buffer.count, 0))
        }
        return DiskImage.isDescriptor(head)
    }

    private func isInExport(_ path: String) -> Bool { Datastore.path(path, isIn: descriptor.root.export.path) }

    /// How large the file may become.
    var limits: FileSystemLimits { descriptor.root.limits }

    /// The number of the file's pages in the cache; 0, under which none are kept, for files that are no images.
    var cacheID: UInt32 { cacheNumber.load(ordering: .acquiring) }

    /// Whether the file has got another path since it was opened, or since this was asked last, as far as the kernel knows.
    func takeRename() -> Bool {
        guard let path = descriptor.currentPath else { return false }
        return state.withLock { state in
            guard state.lastPath != path else { return false }
            state.lastPath = path
            return true
        }
    }

    /// Whether nobody may write to the file any more: whose blocks count is for an administrator to say.
    var isRefused: Bool { refused.load(ordering: .acquiring) }

    /// See ``isRefused``.
    func refuse() { refused.store(true, ordering: .releasing) }

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

    /// The descriptor that is written to, if there is one now.
    var openWriter: OwnedDescriptor? { writable.withLock { $0 } }

    /// The descriptor to write to, opened if need be: a file that nobody writes to can be executed on the server, and its
    /// file system be made read-only.
    func writer() throws(StorageError) -> OwnedDescriptor {
        hasWritten.store(true, ordering: .relaxed)
        if let open = openWriter { return open }
        let opened = try reopened(O_RDWR, "open for writing")
        return writable.withLock { writable in
            if let other = writable { return other }
            writable = opened
            return opened
        }
    }

    /// The descriptor for reading past the kernel's page cache; the other one where that cannot be.
    func directReader() -> Int32 {
        if let open = directDescriptor.withLock({ $0 }) { return open >= 0 ? open : descriptor.rawValue }
        let opened = open(descriptor.descriptorPath, O_RDONLY | O_CLOEXEC | linux_o_direct)
        // Anything but EINVAL may be otherwise the next time.
        guard opened >= 0 || errno == EINVAL else { return descriptor.rawValue }
        let taken = directDescriptor.withLock { direct in
            if let other = direct { return other }
            direct = opened
            return opened
        }
        if taken != opened, opened >= 0 { close(opened) }
        return taken >= 0 ? taken : descriptor.rawValue
    }

    /// Opens the file anew for the next write, which may fare better.
    func closeWriter() {
        // Closed when nobody holds the lock: that may wait for I/O.
        let closed = writable.withLock { writable in
            defer { writable = nil }
            return writable
        }
        withExtendedLifetime(closed) {}
    }

    /// Called twice a second: closes the descriptor that is written to when it has not been for `rounds` calls.
    func closeIdleWriter(after rounds: Int) {
        if hasWritten.exchange(false, ordering: .relaxed) { roundsWithoutWrite.store(0, ordering: .relaxed) }
        guard roundsWithoutWrite.add(1, ordering: .relaxed).newValue == rounds else { return }
        closeWriter()
    }

    /// The same file, opened once more.
    func reopened(_ flags: Int32, _ operation: String) throws(StorageError) -> OwnedDescriptor {
        LockRank.willWait(for: "an open")
        let rawValue = open(descriptor.descriptorPath, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        guard rawValue >= 0, let opened = try? OwnedDescriptor(taking: rawValue, in: descriptor.root) else {
            throw StorageError.lastSystemError(operation: operation, device: path)
        }
        return opened
    }

    /// Notes a client's access, for ``takeUse()``.
    func markUsed() { used.store(true, ordering: .relaxed) }

    /// Whether a client used the file since the last call.
    func takeUse() -> Bool { used.exchange(false, ordering: .relaxed) }

    // MARK: Membership of an image

    /// Makes the file part of an image that introspection is to follow, or of none.
    ///
    /// The writes under way are not waited for: each tells the image that the file is part of when it has reached the
    /// file. Nothing that was cached stays, and what is being read for the cache is kept out; from then on the cache is
    /// right, because every write updates it that finds a number, whatever the file is part of (invariant 2).
    func setMember(_ member: ImageSession.Member?) {
        state.withLock {
            $0.member = member
            $0.needsIdentificationSince = nil
            cached.store(false, ordering: .releasing)
        }
        forgetPages()
    }

    /// Switches between our cache and the kernel's, if the file is still `session`'s.
    func setCached(_ isCached: Bool, for session: ImageSession) {
        let isSwitched = state.withLock { state in
            guard state.member?.session === session else { return false }
            let isCached = isCached && cacheID > 0
            if isCached { state.wasCached = true }
            cached.store(isCached, ordering: .releasing)
            return true
        }
        if isSwitched, !self.isCached { forgetPages() }
    }

    /// Gets the file a number in the cache, for a scan that fills it; returns whether there was one. One thread at a
    /// time asks for a file's number, or gives it back.
    func takeCacheNumber() -> Bool {
        if cacheID == 0 { cacheNumber.store(cache.addImage() ?? 0, ordering: .releasing) }
        return cacheID > 0
    }

    /// Gives the number back of a file that turned out to be no image, unless a write is under way that may use it.
    ///
    /// A number that readers may have seen stays the file's as long as it is open: under it they must never find
    /// another file's pages.
    func returnCacheNumber() {
        var number: UInt32 = 0
        ranges.ifUnused {
            guard !state.withLock({ $0.wasCached }) else { return }
            number = cacheNumber.exchange(0, ordering: .acquiringAndReleasing)
        }
        cache.removeImage(number)
    }

    /// What the cache has counted of the file.
    var cacheStatistics: CacheStatistics { cache.statistics(of: cacheID) }

    /// Whether the file should be looked at (again) because it is new or has grown, and nobody has written to it for
    /// `quiet`; asking counts as an answer.
    ///
    /// - Parameter patience: how long writes within a file that keeps its size put that off: a guest's never end.
    func takeIdentificationRequest(quiet: Duration, patience: Duration) -> Bool {
        state.withLock { state in
            guard let since = state.needsIdentificationSince else { return false }
            let now = ContinuousClock.now
            if let lastWrite = state.lastWrite, now - lastWrite < quiet, now - since < patience { return false }
            state.needsIdentificationSince = nil
            return true
        }
    }

    func requestIdentification() {
        state.withLock { $0.needsIdentificationSince = $0.needsIdentificationSince ?? .now }
    }

    /// As ``requestIdentification()``, after a while.
    func requestIdentificationLater() {
        state.withLock {
            $0.needsIdentificationSince = .now
            $0.lastWrite = .now
        }
    }
}
