import BlockStorage
import Glibc
import Logging
import Synchronization
import Tiering

/// The fast device of a datastore: which writes go to its log, the thread that moves them to their images, and what
/// becomes of the images when the device is missing, fails, or is taken away.
///
/// What the register says is what counts: a log that it calls void is never read again, whatever the device holds.
final class RedirectTier: Sendable {
    /// A log in use.
    struct Attachment: Sendable {
        let log: RedirectLog
        let destager: Destager
    }

    private struct State {
        var attachment: Attachment?
        /// The images that cannot be served without the log, and their paths.
        var refused: [ImageIdentity: String] = [:]
        /// Why there is no log, if there should be.
        var cause: String?
        var isDetached = false
    }

    static let everything = ByteRange(offset: 0, length: Int.max)

    /// The destager looks so often whether there is something to do, in microseconds.
    private static let interval = 20_000
    /// Without a write for so many looks, everything is moved.
    private static let idleLooks = 100
    /// After a failed pass the next comes after so many looks.
    private static let looksAfterFailure = 250
    /// A log that is fuller is emptied, but for its youngest part.
    private static let highWater = 0.5
    private static let spared = 0.25
    /// Writes over what is in a closed log may come again and again; it is empty after so many passes at the latest.
    private static let mostClosingPasses = 1000

    let classes: RedirectClasses
    let register: RedirectRegister
    private let configuration: DatastoreConfiguration.Tier?
    private let logger: Logger
    private let openImage: Destager.OpenImage
    private let yield: @Sendable () -> Void
    private let state = Locked(State())
    /// The open images that the log takes nothing of, and keeps nothing of.
    private let emptied = Locked<Set<ImageIdentity>>([])
    /// Held by whoever attaches, detaches or evacuates.
    private let administration = Locked(())
    private let stopping = Atomic(false)
    private let thread = IOPool(name: "destage", threadCount: 1)

    /// Opens the log of `configuration`, or makes one.
    ///
    /// A log that cannot be opened ends the start only when no image depends on it: else the others are served.
    ///
    /// - Parameter openImage: finds the device of an image for the destager.
    init(
        _ configuration: DatastoreConfiguration.Tier?, register: RedirectRegister, logger: Logger,
        openImage: @escaping Destager.OpenImage, yield: @escaping @Sendable () -> Void
    ) throws(DatastoreError) {
        self.configuration = configuration
        classes = configuration?.classes ?? .metadata
        self.register = register
        self.logger = logger
        self.openImage = openImage
        self.yield = yield
        do throws(DatastoreError) {
            _ = try attach()
        } catch {
            guard !register.entries.isEmpty else { throw error }
            refuse(register.entries, cause: error.message)
        }
    }

    /// What becomes of writes to the file of an image, from now on.
    func setMode(of image: ImageIdentity, path: String) -> DatastoreConfiguration.TierMode {
        let mode = configuration?.mode(of: path) ?? .off
        emptied.withLock { emptied in
            if mode == .off { emptied.insert(image) } else { emptied.remove(image) }
        }
        return mode
    }

    /// The file of an image is gone.
    func forgetMode(of image: ImageIdentity) { _ = emptied.withLock { $0.remove(image) } }

    /// Whether writes of any file may go to the log and the file both.
    var mayWriteThrough: Bool {
        guard let configuration else { return false }
        return configuration.mode == .writethrough || configuration.modes.contains { $0.mode == .writethrough }
    }

    /// Whether the log takes no writes at all.
    private var takesNothing: Bool { configuration?.takesNothing ?? true }

    /// Whether files have to do with the tier at all.
    var isInUse: Bool { configuration != nil || !register.entries.isEmpty }

    /// The images that the log has blocks of, or had some time.
    var knownImages: Set<ImageIdentity> { Set(register.entries.keys).union(attachment?.log.images ?? []) }

    /// The log in use.
    var attachment: Attachment? { state.withLock { $0.attachment } }

    /// Whether an image cannot be served, because its newest blocks are in a log that is not at hand, or in one whose
    /// blocks may not belong to it any more.
    func isRefused(_ image: ImageIdentity) -> Bool {
        state.withLock { $0.refused[image] != nil } || register.isQuarantined(image)
    }

    /// How the device does.
    ///
    /// - Parameter path: the path of an image now, where it is known.
    func status(_ path: (ImageIdentity) -> String?) -> TierStatus {
        let state = state.withLock { $0 }
        var status = TierStatus(state: .none, mode: (configuration?.mode ?? .off).rawValue)
        status.modes = configuration?.modes.map { "\($0.pattern)=\($0.mode.rawValue)" } ?? []
        status.directories = configuration?.directories ?? []
        status.failure = state.cause
        status.images = state.refused.map { .init(path: $0.value, liveBytes: nil, isRefused: true) }
        if let log = state.attachment?.log {
            status.state = log.failure == nil ? .attached : .failed
            status.failure = log.failure.map { "\($0)" }
            (status.size, status.fullness, status.liveBytes) = (log.size, log.fullness, log.liveByteCount)
            status.images += log.liveByteCounts.map { image, count in
                .init(
                    path: path(image) ?? register.entries[image] ?? "", liveBytes: count, isRefused: isRefused(image))
            }
        } else if !state.refused.isEmpty {
            status.state = .missing
        } else if state.isDetached {
            status.state = .detached
        }
        status.images.sort { $0.path < $1.path }
        return status
    }

    // MARK: Quarantine

    /// Somebody else has changed an image: what the log has of it is never laid over that (invariant 2 speaks of what
    /// clients wrote, and the file is not what they wrote to).
    ///
    /// - Returns: whether the image is refused from now on, because its newest blocks are in the log alone; else the log
    ///   has forgotten it.
    func noteForeignChange(of image: ImageIdentity, path: String) -> Bool {
        guard let attachment, attachment.log.hasRedirect(Self.everything, of: image) else { return false }
        do throws(StorageError) {
            guard register.contains(image) else {
                try attachment.destager.discard(image)
                return false
            }
        } catch {
            logger.error("\(error)")
        }
        do throws(DatastoreError) {
            try register.setQuarantined(true, image)
        } catch {
            logger.error("\(error.message)")
            state.withLock { $0.refused[image] = path }
        }
        logger.error(
            """
            \(path): refused, it was changed by another program while its newest blocks were in the redirect log; they \
            are kept there, until introspectctl tier resolve says whether the log's or the file's count
            """)
        return true
    }

    /// Refuses the images that somebody else has changed while no server ran and their newest blocks were in the log;
    /// of others the log forgets its blocks.
    ///
    /// - Parameter contents: what an image looks like now; nil when it cannot be reached.
    func noteStart(_ contents: (ImageIdentity) -> RedirectRegister.Contents?) {
        let stopped = register.stopped
        do throws(DatastoreError) {
            for (image, then) in stopped where contents(image).map({ $0 != then }) == true {
                guard register.contains(image) else {
                    _ = noteForeignChange(of: image, path: "")
                    continue
                }
                logger.error(
                    """
                    \(register.entries[image] ?? ""): refused, it was changed while the server did not run and its \
                    newest blocks were in the redirect log; introspectctl tier resolve says whose blocks count
                    """)
                try register.setQuarantined(true, image)
            }
            try register.setStopped([:])
        } catch {
            // They are compared again at the next start; until then nobody may write to them.
            logger.error("\(error.message)")
            state.withLock { state in
                state.refused.merge(stopped.keys.map { ($0, register.entries[$0] ?? "") }) { old, _ in old }
            }
        }
    }

    /// Notes how the images look that still have blocks in the log, when nobody writes to them any more.
    func noteStop(_ contents: (ImageIdentity) -> RedirectRegister.Contents?) {
        let images = attachment?.log.images.filter { !isRefused($0) } ?? []
        let stopped = images.compactMap { image in contents(image).map { (image, $0) } }
        do throws(DatastoreError) {
            try register.setStopped(Dictionary(stopped) { first, _ in first })
        } catch {
            logger.warning("\(error.message)")
        }
    }

    /// Serves an image again that was refused because somebody else had changed it.
    ///
    /// - Parameter keepingLog: whether what the log has of it counts; else it is lost.
    func resolve(_ image: ImageIdentity, keepingLog: Bool) throws(DatastoreError) {
        try exclusively { () throws(DatastoreError) in
            do throws(StorageError) {
                if !keepingLog { try attachment?.destager.discard(image) }
            } catch {
                throw DatastoreError(error)
            }
            try register.setQuarantined(false, image)
        }
    }

    // MARK: Attaching and detaching

    /// Opens the log, or makes one, and serves again the images that need it; returns those.
    func attach() throws(DatastoreError) -> [ImageIdentity] {
        try exclusively { () throws(DatastoreError) in
            if let log = attachment?.log {
                guard log.isAbandoned else {
                    throw DatastoreError(.invalidArgument, "the redirect log is attached: detach it first")
                }
                state.withLock { $0 = State(isDetached: true) }
            }
            guard let log = try LogOpening(configuration, register, logger).open() else { return [] }
            let images = log.images
            state.withLock {
                $0 = State(
                    attachment: Attachment(
                        log: log, destager: Destager(log: log, openImage: openImage, yield: yield)))
            }
            return images
        }
    }

    private func refuse(_ images: [ImageIdentity: String], cause: String) {
        state.withLock {
            $0.refused = images
            $0.cause = cause
        }
        for path in images.values.sorted() {
            logger.error(
                """
                \(path): refused, its newest blocks are in the redirect log, and \(cause); have the device back and \
                run introspectctl tier attach, or tier detach --give-up to serve the image as it was before them
                """)
        }
    }

    /// Moves everything to the images and takes the log out of use.
    ///
    /// - Parameter givingUp: whether blocks that cannot be read, or are not at hand, are lost; else it throws, and the
    ///   log stays in use, when there are such.
    /// - Returns: whether blocks were given up.
    func detach(givingUp: Bool) throws(DatastoreError) -> Bool {
        try exclusively { () throws(DatastoreError) in
            guard let attachment else {
                let refused = state.withLock { $0.refused }
                guard givingUp || refused.isEmpty else {
                    throw DatastoreError(.serverFault, "the redirect log is not at hand, and images need it")
                }
                try register.retire()
                for path in refused.values.sorted() {
                    logger.error("\(path): its newest blocks were given up, it is served as it was before them")
                }
                state.withLock { $0 = State(isDetached: true) }
                return !refused.isEmpty
            }
            var lost = 0
            do throws(StorageError) {
                if attachment.log.failure == nil { try empty(attachment, givingUp: givingUp) }
                if attachment.log.failure != nil { lost = try evacuate(attachment, givingUp: givingUp) }
            } catch {
                throw DatastoreError(.serverFault, "\(error): redirected blocks stay in the log")
            }
            try register.retire()
            state.withLock { $0 = State(isDetached: true) }
            if lost > 0 { logger.error("\(lost) bytes that were only in the redirect log were given up") }
            logger.notice("the redirect log is detached")
            return lost > 0
        }
    }

    private func empty(_ attachment: Attachment, givingUp: Bool) throws(StorageError) {
        attachment.log.close()
        do throws(StorageError) {
            for _ in 0..<Self.mostClosingPasses where !attachment.log.isEmpty {
                try attachment.destager.pass(sparing: 0)
            }
            guard attachment.log.isEmpty else {
                throw StorageError(.system(EBUSY), operation: "empty", device: "redirect log")
            }
        } catch {
            guard givingUp else {
                attachment.log.reopen()
                throw error
            }
            attachment.log.fail(error)
        }
    }

    /// Moves what a failed log has to the images, so that they can be served without it; the log stays failed.
    func evacuate() throws(StorageError) {
        let result: Result<Void, StorageError> = administration.withLock { _ in
            guard let attachment, attachment.log.failure != nil, !attachment.log.isAbandoned else {
                return .success(())
            }
            do throws(StorageError) {
                _ = try evacuate(attachment, givingUp: false)
                logger.notice("all blocks of the failed redirect log are in the images, which are served without it")
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func evacuate(_ attachment: Attachment, givingUp: Bool) throws(StorageError) -> Int {
        try attachment.destager.evacuate(givingUp: givingUp, isNeeded: register.contains) { () throws(StorageError) in
            do throws(DatastoreError) {
                try register.retire()
            } catch {
                throw registerFailure(error)
            }
        }
    }

    private func exclusively<Value: Sendable>(
        _ body: () throws(DatastoreError) -> Value
    ) throws(DatastoreError) -> Value {
        let result: Result<Value, DatastoreError> = administration.withLock { _ in
            do throws(DatastoreError) {
                return .success(try body())
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    // MARK: Destaging

    /// Starts moving blocks to their images; they can be opened from now on.
    func start() {
        guard isInUse else { return }
        thread.submit { [self] in
            var lastPosition = -1
            var idleLooks = 0
            var looksToWait = 0
            var lastFailure: StorageError?
            while !stopping.load(ordering: .relaxed) {
                usleep(useconds_t(Self.interval))
                guard let attachment else { continue }
                let position = attachment.log.position
                idleLooks = position == lastPosition ? idleLooks + 1 : 0
                lastPosition = position
                looksToWait -= 1
                guard looksToWait <= 0 || attachment.destager.isUrgent,
                    isPassDue(attachment, isIdle: idleLooks >= Self.idleLooks)
                else { continue }
                let failure = pass(attachment, sparing: idleLooks >= Self.idleLooks || takesNothing ? 0 : Self.spared)
                if failure != nil { looksToWait = Self.looksAfterFailure }
                if let failure, failure != lastFailure { logger.error("\(failure): redirected blocks stay in the log") }
                lastFailure = failure
            }
        }
    }

    private func isPassDue(_ attachment: Attachment, isIdle: Bool) -> Bool {
        let log = attachment.log
        if log.failure != nil { return !log.isAbandoned }
        guard log.liveByteCount > 0 else { return false }
        return isIdle || takesNothing || attachment.destager.isUrgent || log.fullness > Self.highWater
            || !imagesToEmpty(log).isEmpty
    }

    private func imagesToEmpty(_ log: RedirectLog) -> [ImageIdentity] {
        emptied.withLock { $0.filter { log.hasRedirect(Self.everything, of: $0) && !isRefused($0) } }
    }

    private func pass(_ attachment: Attachment, sparing spared: Double) -> StorageError? {
        do throws(StorageError) {
            if let failure = attachment.log.failure {
                logger.error("\(failure): the redirect log has failed and takes no more writes")
                try evacuate()
            } else {
                for image in imagesToEmpty(attachment.log) {
                    try attachment.destager.drain(image, Self.everything)
                }
                try attachment.destager.pass(sparing: spared) { stopping.load(ordering: .relaxed) }
            }
            return nil
        } catch {
            return error
        }
    }

    /// Ends the thread and moves what the log has to the images, as long as the time allows; the rest stays there.
    func stop() {
        stopping.store(true, ordering: .relaxed)
        thread.shutDown()
        guard let attachment, !attachment.log.isAbandoned else { return }
        let deadline = ContinuousClock.now + (configuration?.drainTimeout ?? .zero)
        do throws(StorageError) {
            try attachment.destager.pass(sparing: 0) { ContinuousClock.now > deadline }
        } catch {
            logger.error("\(error): redirected blocks stay in the log")
        }
        let rest = attachment.log.liveByteCount
        guard rest == 0, attachment.log.failure == nil else {
            return logger.warning("\(rest) bytes stay safely in the redirect log until the next start")
        }
        do throws(DatastoreError) {
            try register.clear()
        } catch {
            logger.warning("\(error.message)")
        }
    }

    /// Enters an image into the register of those that need the log, before its first redirect.
    func enter(_ image: ImageIdentity, path: String, mark: String, for log: RedirectLog) throws(StorageError) {
        guard log.failure == nil else { return }
        do throws(DatastoreError) {
            try register.enter(image, path: path, mark: mark, for: log.identity)
        } catch {
            throw registerFailure(error)
        }
    }

    private func registerFailure(_ error: DatastoreError) -> StorageError {
        logger.error("\(error.message)")
        return StorageError(.system(EIO), operation: "register", device: register.path)
    }
}
