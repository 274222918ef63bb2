import BlockStorage
import Glibc
import Logging
import Synchronization
import Tiering

/// The fast device of a datastore: which writes go to its log, and the thread that moves them to their images.
final class RedirectTier: Sendable {
    /// The destager looks so often whether there is something to do, in microseconds.
    private static let interval = 20_000
    /// Without a write for so many looks, everything is moved.
    private static let idleLooks = 100
    /// After a failed pass the next comes after so many looks.
    private static let looksAfterFailure = 250
    /// A log that is fuller is emptied, but for its youngest part.
    private static let highWater = 0.5
    private static let spared = 0.25

    let log: RedirectLog
    let mode: DatastoreConfiguration.TierMode
    let classes = RedirectClasses.standard
    let destager: Destager
    private let register: FileRegister
    private let drainTimeout: Duration
    private let logger: Logger
    private let stopping = Atomic(false)
    private let thread = IOPool(name: "destage", threadCount: 1)

    /// Recovers the log of `configuration`, or makes one.
    ///
    /// - Parameter openImage: finds the device of an image for the destager.
    init(
        _ configuration: DatastoreConfiguration.Tier, register: FileRegister, logger: Logger,
        openImage: @escaping Destager.OpenImage, yield: @escaping @Sendable () -> Void
    ) throws(StorageError) {
        mode = configuration.mode
        drainTimeout = configuration.drainTimeout
        self.register = register
        self.logger = logger
        let start = ContinuousClock.now
        let file = try LogFile(directory: configuration.directory, size: configuration.size)
        log = try RedirectLog(recovering: file)
        destager = Destager(log: log, openImage: openImage, yield: yield)
        let images = log.images.count
        logger.info(
            "\(file.name): recovered in \(start.duration(to: .now)): \(log.liveByteCount) bytes of \(images) images")
    }

    /// Starts moving blocks to their images; they can be opened from now on.
    func start() {
        thread.submit { [self] in
            var lastPosition = -1
            var idleLooks = 0
            var looksToWait = 0
            var lastFailure: StorageError?
            while !stopping.load(ordering: .relaxed) {
                usleep(useconds_t(Self.interval))
                let position = log.position
                idleLooks = position == lastPosition ? idleLooks + 1 : 0
                lastPosition = position
                looksToWait -= 1
                guard looksToWait <= 0, let spared = share(isIdle: idleLooks >= Self.idleLooks) else { continue }
                let failure = pass(sparing: spared)
                if failure != nil { looksToWait = Self.looksAfterFailure }
                if let failure, failure != lastFailure { logger.error("\(failure): redirected blocks stay in the log") }
                lastFailure = failure
            }
        }
    }

    /// How much of the log the next pass leaves alone; nil when none is due.
    private func share(isIdle: Bool) -> Double? {
        guard log.failure == nil, log.liveByteCount > 0 else { return nil }
        if isIdle || mode == .off { return 0 }
        return destager.isUrgent || log.fullness > Self.highWater ? Self.spared : nil
    }

    private func pass(sparing spared: Double) -> StorageError? {
        do throws(StorageError) {
            try destager.pass(sparing: spared) { stopping.load(ordering: .relaxed) }
            return nil
        } catch {
            return error
        }
    }

    /// Ends the thread and moves what the log has to the images, as long as the time allows; the rest stays there.
    func stop() {
        stopping.store(true, ordering: .relaxed)
        thread.shutDown()
        let deadline = ContinuousClock.now + drainTimeout
        do throws(StorageError) {
            try destager.pass(sparing: 0) { ContinuousClock.now > deadline }
        } catch {
            logger.error("\(error): redirected blocks stay in the log")
        }
        let rest = log.liveByteCount
        guard rest == 0, log.failure == nil else {
            return logger.warning("\(rest) bytes stay safely in the redirect log until the next start")
        }
        do throws(DatastoreError) {
            try register.remove(register.entries.keys)
        } catch {
            logger.warning("\(error.message)")
        }
    }

    /// Enters an image into the register of those that need the log, before its first redirect.
    func enter(_ image: ImageIdentity, path: String) throws(StorageError) {
        do throws(DatastoreError) {
            try register.enter(image, path: path)
        } catch {
            logger.error("\(error.message)")
            throw StorageError(.system(EIO), operation: "register", device: register.path)
        }
    }
}
