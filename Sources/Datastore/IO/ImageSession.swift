import BlockStorage
import DiskImages
import Glibc
import Introspection
import Logging
import Tiering

/// A disk image that introspection follows: its files, what is known of its blocks, and the work in the background
/// that keeps it known.
///
/// Scans and digests of one image run one at a time, on threads that no client waits for.
final class ImageSession: Sendable {
    /// A file's place in an image.
    struct Member: Sendable {
        let session: ImageSession
        /// The file's index in the image's list of files.
        let index: Int

        /// Calls `body` with the classes of `range` of the file, for all of it that is part of the disk.
        func forEachClass(in range: ByteRange, _ body: (ByteRange, BlockClass) -> Void) {
            guard session.image.files[index].role == .extent else { return body(range, .imageFormat) }
            session.image.forEachDiskRange(ofFile: index, range) { disk, fileOffset in
                session.introspector.forEachClass(in: disk) { run, blockClass in
                    let offset = fileOffset + run.offset - disk.offset
                    body(ByteRange(offset: offset, length: run.length), blockClass)
                }
            }
        }

        /// As ``forEachClass(in:_:)``, for `bytes` that are about to be written at `offset`: where nothing claims a
        /// block yet, their looks tell.
        func forEachClass(
            ofWrite bytes: UnsafeRawBufferPointer, at offset: Int, _ body: (ByteRange, BlockClass) -> Void
        ) {
            let range = ByteRange(offset: offset, length: bytes.count)
            guard session.image.files[index].role == .extent else { return body(range, .imageFormat) }
            session.image.forEachDiskRange(ofFile: index, range) { disk, fileOffset in
                let start = fileOffset - offset
                let part = UnsafeRawBufferPointer(rebasing: bytes[start..<start + disk.length])
                session.introspector.forEachClass(ofWrite: part, at: disk.offset) { run, blockClass in
                    body(ByteRange(offset: fileOffset + run.offset - disk.offset, length: run.length), blockClass)
                }
            }
        }
    }

    /// The work that is due, and whether a thread is at it.
    struct State {
        var wantsScan = true
        /// A map to try instead of the first scan.
        var map: SavedMapFile?
        var wantsDigest = false
        var isRunning = false
        var isClosed = false
        var nextScan = ContinuousClock.now
        var scanInterval = ImageSession.shortestScanInterval
        /// Whether a scan is wanted that may find mended what the last found wrong, and when it may be.
        var wantsReview = false
        var nextReview = ContinuousClock.now
        var reviewInterval = ImageSession.shortestScanInterval
        var lastScan: ScanReport?
        /// Whether the last scan could not be ended, or not read everything, or its map not be kept.
        var hasFailed = false
        /// Whether the last scan took longer than others can be made to wait.
        var isLong = false
        /// The map's share of ``MapMemory``, and whether there was no room for one.
        var mapShare = 0
        var isMapDropped = false
        /// How many scans have ended.
        var scanCount = 0
        /// What was logged of the last scan's problems.
        var loggedProblems: [String] = []

        /// What has been there for long is damage, and is looked at ever more rarely; what has changed is in the making.
        mutating func putOffReview(after report: ScanReport, now: ContinuousClock.Instant = .now) {
            let isAsBefore =
                lastScan.map {
                    $0.problems == report.problems && $0.status.fileSystems == report.status.fileSystems
                } ?? false
            let wasQuiet = now - report.duration - nextReview > ImageSession.longestReviewInterval
            reviewInterval =
                isAsBefore && !wasQuiet
                ? min(reviewInterval * 2, ImageSession.longestReviewInterval) : ImageSession.shortestScanInterval
            // What no review mends is not to keep the disk busy with it.
            nextReview = now + (isAsBefore ? max(reviewInterval, report.duration * 20) : reviewInterval)
        }

        /// A guest that makes its image stale again and again waits longer each time, until it has been quiet.
        ///
        /// - Parameters:
        ///   - start: when the scan began that has ended.
        ///   - hadFailed: whether the one before had.
        ///   - couldRead: whether the disk gave all that was read.
        mutating func putOffScan(
            begunAt start: ContinuousClock.Instant, hadFailed: Bool, couldRead: Bool,
            now: ContinuousClock.Instant = .now
        ) {
            // What had failed was wanted all the time, however long it took or waited for its turn.
            let wasQuiet = !hadFailed && start - nextScan > ImageSession.longestScanInterval
            let interval = wasQuiet ? ImageSession.shortestScanInterval : scanInterval
            // What could be read is known: an image whose disk stays damaged is not soon read again and again.
            let staysDamaged = !couldRead && lastScan != nil && interval == ImageSession.longestScanInterval
            let isPartial = lastScan?.isPartial == true || isMapDropped || staysDamaged
            nextScan = now + (isPartial ? ImageSession.partialScanInterval : interval)
            scanInterval = min(interval * 2, ImageSession.longestScanInterval)
        }

        /// Whether a scan is wanted and may begin.
        var isScanDue: Bool {
            nextScan <= .now && (wantsScan || wantsReview && nextReview <= .now)
        }
    }

    private static let shortestScanInterval = Duration.seconds(1)
    private static let longestScanInterval = Duration.seconds(60)
    private static let longestReviewInterval = Duration.seconds(600)
    /// An image with more on it than a scan takes on is not soon looked at again.
    private static let partialScanInterval = Duration.seconds(600)
    private static let scanParallelism = 16

    let image: DiskImage
    let files: [OpenFile]
    let introspector: DiskIntrospector
    let cache: PageCache
    private let background: BackgroundWork
    private let logger: Logger
    let state: Locked<State>

    init(
        image: DiskImage, files: [OpenFile], map: SavedMapFile?, cache: PageCache, background: BackgroundWork,
        logger: Logger
    ) {
        state = Locked(State(map: map), .session)
        self.image = image
        self.files = files
        self.cache = cache
        self.background = background
        self.logger = logger
        introspector = DiskIntrospector(name: image.path, diskSize: image.size)
    }

    /// What the last scan found; nil before the first has ended.
    var lastScan: ScanReport? { state.withLock { $0.lastScan } }

    /// Whether the last scan could not be ended, or not read everything, or its map not be kept, and is to be tried again.
    var hasFailed: Bool { state.withLock { $0.hasFailed } }

    /// How many scans have ended: whoever has looked at one need not look again until it changes.
    var scanCount: Int { state.withLock { $0.scanCount } }

    /// Reads the virtual disk as clients see it, after them.
    var reader: ImageReader { ImageReader(session: self, background: background) }

    /// Whether a scan or digest runs or is due.
    var isBusy: Bool { state.withLock { $0.isRunning || $0.wantsScan || $0.wantsDigest } }

    /// Whether the image is several joined, and the one that is `file` has another size now.
    func hasOutgrown(_ file: OpenFile, size: Int) -> Bool {
        guard image.members.count > 1, let index = files.firstIndex(where: { $0 === file }) else { return false }
        let known = image.extents.reduce(0) { sum, extent in
            if case .file(index, _) = extent.source { sum + extent.length } else { sum }
        }
        return known != size
    }

    /// Makes the files members, so that from now on every write is recorded, and has the image scanned.
    func start() {
        for (index, file) in files.enumerated() {
            file.setMember(Member(session: self, index: index))
        }
        startDueWork()
    }

    /// Ends the session; work in the background stops soon. The files that stay open are looked at again: each may be an
    /// image by itself. The map goes now: work that waits for its turn may keep the rest for long.
    ///
    /// - Parameter keepingMap: for the report of a server that stops.
    func close(keepingMap: Bool = false) {
        state.withLock { state in
            state.isClosed = true
            _ = background.mapMemory.change(from: state.mapShare, to: 0)
            state.mapShare = 0
        }
        for file in files where file.member?.session === self {
            file.setMember(nil)
            file.requestIdentification()
        }
        if !keepingMap { introspector.forget() }
    }

    /// Takes note of bytes that were written to the file `index` at `fileOffset`.
    ///
    /// Called in the order in which overlapping writes reach the file, after the cache shows them and before they are
    /// acknowledged.
    func recordWrite(_ bytes: UnsafeRawBufferPointer, file index: Int, at fileOffset: Int) {
        var outcome = WriteOutcome.nothing
        let range = ByteRange(offset: fileOffset, length: bytes.count)
        if image.files[index].role == .descriptor { outcome.needsRescan = true }
        image.forEachDiskRange(ofFile: index, range) { disk, offset in
            let start = offset - fileOffset
            let part = UnsafeRawBufferPointer(rebasing: bytes[start..<start + disk.length])
            let result = introspector.recordWrite(part, at: disk.offset)
            outcome.needsDigest = outcome.needsDigest || result.needsDigest
            outcome.needsRescan = outcome.needsRescan || result.needsRescan
            outcome.needsReview = outcome.needsReview || result.needsReview
        }
        guard outcome != .nothing else { return }
        request(outcome)
    }

    /// Has the image scanned again: its bytes are no longer what the map was made from.
    func requestScan() {
        var outcome = WriteOutcome.nothing
        outcome.needsRescan = true
        request(outcome)
    }

    private func request(_ outcome: WriteOutcome) {
        state.withLock {
            $0.wantsScan = $0.wantsScan || outcome.needsRescan
            $0.wantsReview = $0.wantsReview || outcome.needsReview
            $0.wantsDigest = $0.wantsDigest || outcome.needsDigest
        }
        startDueWork()
    }

    /// Hands work that is due to a thread; called after each request, and now and then for scans that had to wait.
    func startDueWork() {
        let due: (scan: Bool, isLong: Bool)? = state.withLock { state in
            guard !state.isRunning, !state.isClosed else { return nil }
            let isScanDue = state.isScanDue
            guard isScanDue || state.wantsDigest else { return nil }
            state.isRunning = true
            return (isScanDue, state.isLong)
        }
        guard let due else { return }
        let work = { @Sendable [self] in
            if !state.withLock({ $0.isClosed }) {
                if due.scan { scan() } else { digest() }
            }
            state.withLock { $0.isRunning = false }
            startDueWork()
        }
        if due.scan { background.scans.submit(isLong: due.isLong, work) } else { background.digests.submit(work) }
    }

    // MARK: In the background

    private var isCancelled: Bool {
        background.isStopping || state.withLock { $0.isClosed }
    }

    private func scan() {
        let start = ContinuousClock.now
        let (wasLong, hadFailed) = state.withLock { ($0.isLong, $0.hasFailed) }
        state.withLock {
            $0.wantsScan = false
            $0.wantsReview = false
        }
        for file in files where file.member?.session === self && !file.takeCacheNumber() {
            logger.notice("\(file.path): not kept in the cache, which is too small for so many images")
        }
        if let map = state.withLock({ $0.map.take() }), let report = load(map, reader) {
            return finish(report, "map loaded from \(map.path)")
        }
        let reader = reader
        do throws(StorageError) {
            let report = try introspector.scan(
                reader, parallelism: Self.scanParallelism, options: ScanOptions(storedBytes: storedBytes),
                isCancelled: { [self] in
                    isCancelled || !wasLong && background.scans.mustMakeRoom(since: start)
                })
            state.withLock { state in
                state.isLong = .now - start > ScanQueue.fairTime
                if report.wasCancelled { state.wantsScan = true }
            }
            guard !report.wasCancelled else { return }
            finish(report, "scanned")
            // What it could not read is among the problems that it has found.
            if reader.hasFailed { noteFailure() }
        } catch {
            noteFailure()
            let problem = "\(error)"
            if isNew([problem]) { logger.warning("\(image.path): cannot be scanned, is tried again: \(problem)") }
        }
        state.withLock { $0.putOffScan(begunAt: start, hadFailed: hadFailed, couldRead: !reader.hasFailed) }
    }

    /// A read has failed. It may be well again soon; the disk is asked ever more rarely.
    private func noteFailure() {
        state.withLock { state in
            state.wantsScan = true
            state.hasFailed = true
        }
    }

    /// The bytes that the image's files take on the server: real metadata is stored, holes are not.
    var storedBytes: Int {
        files.reduce(0) { sum, file in
            var status = stat()
            guard fstat(file.descriptor.rawValue, &status) == 0 else { return sum }
            let (bytes, overflow) = Int(clamping: status.st_blocks).multipliedReportingOverflow(by: 512)
            return overflow ? .max : sum.addingReportingOverflow(bytes).overflow ? .max : sum + bytes
        }
    }

    /// Whether these are not the problems that were logged last: a guest can have its image scanned again and again.
    private func isNew(_ problems: [String]) -> Bool {
        state.withLock { state in
            defer { state.loggedProblems = problems }
            return state.loggedProblems != problems
        }
    }

    /// Installs the saved map, or says why not; nil when there is none that can be used.
    private func load(_ map: SavedMapFile, _ reader: ImageReader) -> ScanReport? {
        do throws(SavedMapError) {
            guard let saved = try map.read() else { return nil }
            let report = try introspector.load(saved, files: map.stamps(of: files), reader)
            guard !reader.hasFailed else { throw SavedMapError("not all of the image can be read now") }
            return report
        } catch {
            logger.notice("\(map.path): the map is not used, \(image.path) is scanned: \(error)")
            return nil
        }
    }

    private func finish(_ report: ScanReport, _ what: String) {
        var report = report
        let isKept = keepsMap()
        if !isKept { report.problems.append("\(image.path): \(Self.noRoom)") }
        let isRecognised = isKept && report.status.state != .unrecognised
        state.withLock {
            $0.putOffReview(after: report)
            $0.lastScan = report
            $0.hasFailed = !isKept
            $0.scanCount += 1
            $0.wantsDigest = isKept
        }
        if isRecognised { reclassifyCachedPages() }
        setCached(isRecognised)
        if isNew(report.problems) {
            for problem in report.problems { logger.notice("\(problem)") }
        }
        guard isRecognised else {
            logger.debug("\(image.path): holds nothing that introspection knows, served as a file")
            return
        }
        let kinds = report.status.fileSystems.map { "\($0.kind) on \($0.volume)" }.joined(separator: ", ")
        logger.info(
            "\(image.path): \(what) in \(report.duration): \(kinds.isEmpty ? "no file system" : kinds)",
            metadata: [
                "bytes": "\(report.bytesRead)", "reads": "\(report.readCount)",
                "map-memory": "\(report.status.mapMemoryBytes)",
            ])
    }

    private func setCached(_ isCached: Bool) {
        for file in files where file.member?.session === self {
            file.setCached(isCached, for: self)
            if !isCached { file.returnCacheNumber() }
        }
    }

    private static let noRoom =
        "beside those of other images there is no memory for its map; served as a file, and looked at again in "
        + "\(partialScanInterval.components.seconds / 60) minutes"

    /// Notes what the map takes by now. Where there is no room for it, it is let go of until the next scan.
    private func keepsMap() -> Bool {
        let share = MapMemory.share(ofMap: introspector.mapMemoryBytes, storedBytes: storedBytes)
        let isKept = state.withLock { state in
            let isKept = !state.isClosed && background.mapMemory.change(from: state.mapShare, to: share)
            let left = isKept ? share : 0
            if !isKept { _ = background.mapMemory.change(from: state.mapShare, to: 0) }
            state.mapShare = left
            state.isMapDropped = !isKept
            if !isKept {
                state.wantsScan = true
                state.nextScan = .now + Self.partialScanInterval
            }
            return isKept
        }
        if !isKept { introspector.forget() }
        return isKept
    }

    private func digest() {
        state.withLock { $0.wantsDigest = false }
        let result = introspector.digest(reader)
        guard keepsMap() else {
            state.withLock { $0.hasFailed = true }
            setCached(false)
            if isNew([Self.noRoom]) { logger.notice("\(image.path): \(Self.noRoom)") }
            return
        }
        reclassify(result)
        state.withLock {
            $0.wantsDigest = $0.wantsDigest || result.needsDigest
            $0.wantsScan = $0.wantsScan || result.needsRescan
            $0.wantsReview = $0.wantsReview || result.needsReview
        }
    }

    /// Gives cached pages the priority that a digest says. Where it tells of more pages than the cache holds, it is the
    /// cache that is gone through.
    private func reclassify(_ result: DigestResult) {
        let pages = result.changes.reduce(0) { $0 + $1.range.length / PageCache.pageSize + 1 }
        guard !result.hasMoreChanges, pages <= cache.pageCount else {
            reclassifyCachedPages()
            return
        }
        for change in result.changes { reclassify(change.range, as: change.blockClass) }
    }

    /// Gives every cached page the priority that the map now says.
    ///
    /// A scan reads over small gaps between metadata, and classes change while pages are cached. It is the cache that is
    /// gone through, which is small whatever size the disk has.
    ///
    /// - Returns: how many ranges of the disk were looked up.
    @discardableResult func reclassifyCachedPages() -> Int {
        var count = 0
        for (index, file) in files.enumerated() {
            for range in cache.cachedRanges(of: file.cacheID) {
                guard !isCancelled else { return count }
                image.forEachDiskRange(ofFile: index, range) { disk, _ in
                    introspector.forEachClass(in: disk) { reclassify($0, as: $1) }
                    count += 1
                }
            }
        }
        return count
    }

    private func reclassify(_ diskRange: ByteRange, as blockClass: BlockClass) {
        image.forEachFileRange(of: diskRange) { source, part in
            guard case .file(let index, let offset) = source, let file = files.element(at: index) else { return }
            let range = ByteRange(offset: offset, length: part.length)
            guard let kind = blockClass.pageKind else { return cache.remove(image: file.cacheID, range: range) }
            // A block smaller than a page must not lower what its neighbours raise.
            let whole = blockClass.isMetadata ? range.aligned(to: PageCache.pageSize) : range.wholePages
            guard let whole, !whole.isEmpty else { return }
            cache.reclassify(image: file.cacheID, range: whole, kind: kind)
        }
    }
}

extension ByteRange {
    /// The pages that lie in the range as a whole, or nil when there are none.
    fileprivate var wholePages: ByteRange? {
        let mask = PageCache.pageSize - 1
        guard offset <= Int.max - mask else { return nil }
        let start = (offset + mask) & ~mask
        let end = end & ~mask
        return start < end ? ByteRange(offset: start, length: end - start) : nil
    }
}

extension Array {
    fileprivate func element(at index: Int) -> Element? {
        indices.contains(index) ? self[index] : nil
    }
}
