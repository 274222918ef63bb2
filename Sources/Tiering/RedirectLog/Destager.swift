import BlockStorage

/// Moves redirected bytes to their images, in disk order, neighbours in one write.
///
/// What guests overwrite meanwhile is never moved: a pass leaves the youngest part of the log alone, and a journal's
/// ring is overwritten there again and again. One pass runs at a time.
public final class Destager: @unchecked Sendable {
    /// The file of an image; nil when the image is gone, and its redirects with it.
    public typealias OpenImage = @Sendable (ImageIdentity) throws(StorageError) -> (any DestageTarget)?

    private static let largestStep = 16 << 20
    private static let mostRanges = 4096

    let log: RedirectLog
    private let openImage: OpenImage
    private let yield: @Sendable () -> Void
    private let turn = Monitor()
    private var isRunning = false

    /// A destager of `log`.
    ///
    /// - Parameters:
    ///   - openImage: finds the device to write to. Flushing it must report the failures of its own writes: a
    ///     descriptor that others flush, too, does not.
    ///   - yield: is called now and then while nothing is urgent, and may wait.
    public init(log: RedirectLog, openImage: @escaping OpenImage, yield: @escaping @Sendable () -> Void = {}) {
        self.log = log
        self.openImage = openImage
        self.yield = yield
    }

    /// Whether writers wait for space.
    public var isUrgent: Bool { log.monitor.withLock { log.state.waitingForSpace > 0 } }

    /// Destages everything but the youngest part of the log, which is `spared` of what is in use, from 0 to 1.
    ///
    /// - Parameter isCancelled: is asked now and then; when it says so the pass ends early.
    public func pass(sparing spared: Double, isCancelled: () -> Bool = { false }) throws(StorageError) {
        let horizon = log.monitor.withLock {
            let start = log.state.reusableFrom(log.geometry)
            return log.state.durableHead - Int(Double(log.state.durableHead - start) * spared)
        }
        do throws(StorageError) {
            try destage(before: horizon, isCancelled) { _ in true }
        } catch {
            if log.failure == nil { try alone { () throws(StorageError) in try clean() } }
            log.monitor.withLock { log.monitor.broadcast() }
            throw error
        }
    }

    /// Destages what is redirected of `range` of `image`; returns when nothing written before the call is.
    ///
    /// - Parameter isCancelled: as that of ``pass(sparing:isCancelled:)``.
    public func drain(
        _ image: ImageIdentity, _ range: ByteRange, isCancelled: () -> Bool = { false }
    ) throws(StorageError) {
        guard log.hasRedirect(range, of: image) else { return }
        let number = log.monitor.withLock { log.state.number(of: image) }
        try destage(before: .max, isCancelled) { $0.image == number && $0.range.overlaps(range) }
    }

    /// Forgets the redirects of an image that is gone.
    public func discard(_ image: ImageIdentity) throws(StorageError) {
        let everything = ByteRange(offset: 0, length: RedirectIndex.largestOffset)
        guard log.hasRedirect(everything, of: image) else { return }
        guard log.failure == nil else { return log.forget(image) }
        try log.settle([everything], of: image)
        log.monitor.withLock { log.state.destageFailures[image] = nil }
    }

    /// Forgets the redirects of a range, durably: what the image itself has there counts.
    public func discard(_ image: ImageIdentity, _ range: ByteRange) throws(StorageError) {
        try log.settle([range], of: image)
    }

    /// What kept an image from being written to is over: writers who find the log full wait again.
    public func forgetFailure(of image: ImageIdentity) {
        log.monitor.withLock { log.state.destageFailures[image] = nil }
    }

    /// Returns when what is being moved now is moved: an image that cannot be opened any more is not written to after that.
    public func waitForPass() {
        turn.withLock {
            while isRunning { turn.wait() }
        }
    }

    /// Copies what a failed log has to the images; then `record` is called, and the log forgets everything.
    ///
    /// When some images cannot be written to it throws, and the log keeps what it has of these alone.
    ///
    /// - Parameters:
    ///   - givingUp: whether what cannot be read, or whose image cannot be opened, is lost; else nothing is forgotten
    ///     when there is such.
    ///   - isNeeded: whether an image lacks what the log has of it.
    ///   - onLoss: is told what was given up of an image.
    ///   - recordImages: makes durable, elsewhere, that what the device holds of these images no longer counts.
    ///   - record: makes durable, elsewhere, that nothing of what the device holds counts any more.
    /// - Returns: the bytes that were given up.
    @discardableResult public func evacuate(
        givingUp: Bool = false, isNeeded: (ImageIdentity) -> Bool = { _ in true },
        onLoss: (ImageIdentity, _ bytes: Int) -> Void = { _, _ in },
        recordImages: ([ImageIdentity]) throws(StorageError) -> Void = { _ in },
        record: () throws(StorageError) -> Void
    ) throws(StorageError) -> Int {
        var lost = 0
        try alone { () throws(StorageError) in
            guard log.failure != nil, !log.isAbandoned else { return }
            // What it brings counts as acknowledged.
            log.waitForCommit()
            var failure: StorageError?
            var done: [ImageIdentity] = []
            try forEachImage(of: { _ in true }) { regions, image in
                do throws(StorageError) {
                    let given = isNeeded(image) ? try evacuate(regions, of: image, givingUp: givingUp) : 0
                    if given > 0 { onLoss(image, given) }
                    lost += given
                    done.append(image)
                } catch {
                    failure = failure ?? error
                }
            }
            if let failure {
                // One image that cannot be written to must not keep the others from being served without the log; nor those
                // of which a failed commit may have left something, and that have all else (invariant 3: on record first).
                done += log.imagesInDoubtAlone
                try recordImages(done)
                for image in done { log.forget(image) }
                throw failure
            }
            try record()
            log.abandon()
        }
        return lost
    }

    private func evacuate(
        _ regions: ArraySlice<RedirectIndex.Region>, of image: ImageIdentity, givingUp: Bool
    ) throws(StorageError) -> Int {
        let redirects = log.monitor.withLock { regions.flatMap { log.state.index.redirects(in: $0) } }
        var lost = 0
        func onFailure(_ redirect: RedirectIndex.Redirect, _ error: StorageError) throws(StorageError) {
            guard givingUp else { throw error }
            lost += redirect.range.length
        }
        do throws(StorageError) {
            guard let target = try openImage(image) else { return 0 }
            let step = DestageStep(image: image, target: target, log: log, settles: false)
            for redirect in redirects {
                step.add(redirect)
                guard step.byteCount >= Self.largestStep else { continue }
                try step.finish(onFailure)
            }
            try step.finish(onFailure)
            return lost
        } catch {
            guard givingUp else { throw error }
            return redirects.reduce(0) { $0 + $1.range.length }
        }
    }

    private func destage(
        before horizon: Int, _ isCancelled: () -> Bool, _ isWanted: (RedirectIndex.Region) -> Bool
    ) throws(StorageError) {
        try alone { () throws(StorageError) in
            if let failure = log.failure { throw failure }
            var failures: [ImageIdentity: StorageError] = [:]
            var done: [ImageIdentity] = []
            var first: StorageError?
            try forEachImage(of: isWanted) { regions, image in
                do throws(StorageError) {
                    try destage(regions, of: image, before: horizon, isCancelled)
                    done.append(image)
                } catch {
                    // One image that cannot be written must not keep the others in the log, nor writers of theirs out.
                    failures[image] = error
                    first = first ?? error
                }
            }
            log.monitor.withLock {
                for image in done { log.state.destageFailures[image] = nil }
                log.state.destageFailures.merge(failures) { $1 }
                log.monitor.broadcast()
            }
            if let first { throw first }
        }
    }

    /// Calls `body` with the regions of each image that are wanted and have live redirects, in order.
    private func forEachImage(
        of isWanted: (RedirectIndex.Region) -> Bool,
        _ body: (ArraySlice<RedirectIndex.Region>, ImageIdentity) throws(StorageError) -> Void
    ) throws(StorageError) {
        let regions = log.monitor.withLock { log.state.index.allRegions }.filter(isWanted).sorted()
        var start = 0
        while start < regions.count {
            let number = regions[start].image
            let end = regions.partitioningIndex { $0.image > number }
            try body(regions[start..<end], log.monitor.withLock { log.state.identities[Int(number)] })
            start = end
        }
    }

    /// Destages regions of one image, in order, in steps that end with a flush and a settlement.
    private func destage(
        _ regions: ArraySlice<RedirectIndex.Region>, of image: ImageIdentity, before horizon: Int,
        _ isCancelled: () -> Bool
    ) throws(StorageError) {
        let isLive = log.monitor.withLock { regions.contains { !log.state.index.redirects(in: $0).isEmpty } }
        guard isLive else { return }
        guard let target = try openImage(image) else {
            let everything = ByteRange(offset: 0, length: RedirectIndex.largestOffset)
            return try log.settle([everything], of: image)
        }
        var damage: StorageError?
        func onFailure(_: RedirectIndex.Redirect, _ error: StorageError) throws(StorageError) {
            // It stays in the log and is never served; a write over all of it ends that.
            guard error.code == .damaged else { throw error }
            damage = error
        }
        let step = DestageStep(image: image, target: target, log: log, settles: true) { [self] in
            if !isUrgent { yield() }
        }
        let mostRanges = min(Self.mostRanges, log.geometry.largestPayload / 16 - 16)
        for region in regions where !isCancelled() {
            let (found, head) = log.monitor.withLock {
                (log.state.index.redirects(in: region), log.state.durableHead)
            }
            step.horizon = min(step.horizon, head)
            for redirect in found where redirect.position < horizon {
                step.add(redirect)
                guard step.count >= mostRanges || step.byteCount >= Self.largestStep else { continue }
                try step.finish(onFailure)
                step.horizon = head
            }
        }
        try step.finish(onFailure)
        if let damage { throw damage }
    }

    /// Runs `body` while no other pass runs.
    private func alone(_ body: () throws(StorageError) -> Void) throws(StorageError) {
        turn.withLock {
            while isRunning { turn.wait() }
            isRunning = true
        }
        defer {
            turn.withLock {
                isRunning = false
                turn.broadcast()
            }
        }
        try body()
    }
}
