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
        /// No two have the same, nor has any 0.
        let number: UInt64
    }

    struct State {
        var attachment: Attachment?
        /// The images that cannot be served without the log, and their paths.
        var refused: [ImageIdentity: ByteString] = [:]
        /// Whether nothing can be served without it: which images need it is not on record.
        var areAllRefused = false
        /// Why there is no log, if there should be, or why images go without.
        var cause: String?
        var isDetached = false
        /// The images whose blocks cannot be moved to them because they cannot be opened, and why that is so.
        var unreachable: [ImageIdentity: String] = [:]
    }

    static let everything = ByteRange(offset: 0, length: Int.max)

    let classes: RedirectClasses
    let register: RedirectRegister
    let configuration: DatastoreConfiguration.Tier?
    let logger: Logger
    let openImage: Destager.OpenImage
    let contents: @Sendable (ImageIdentity) -> RedirectRegister.Contents?
    let isOurs: @Sendable (ImageIdentity) -> Bool
    let yield: @Sendable () -> Void
    let state = Locked(State())
    /// How many open files of an image there are that the log takes nothing of, and keeps nothing of.
    let emptied = Locked<[ImageIdentity: Int]>([:])
    /// How many of the server's threads are about to remove a name of an image's file.
    let removals = Locked<[ImageIdentity: Int]>([:])
    /// See ``Datastore/findReplacements()``.
    let replacements = Locked(Replacements())
    /// Held by whoever attaches, detaches or evacuates.
    let administration = Locked((), .administration)
    let stopping = Atomic(false)
    /// Whether administrators are to wait no longer, as the server stops.
    let administrationEnds = Atomic(false)
    let isFailureLogged = Atomic(false)
    let attachmentCount = Atomic<UInt64>(0)
    private let isRegisterFailing = Atomic(false)
    let thread = IOPool(name: "destage", threadCount: 1)

    /// Opens the log of `configuration`, or makes one.
    ///
    /// A log that cannot be opened ends the start only when no image depends on it: else the others are served.
    ///
    /// - Parameters:
    ///   - openImage: finds the device of an image for the destager.
    ///   - contents: what an image looks like now; nil when it cannot be reached.
    ///   - isOurs: whether an image is known by a handle of this server.
    init(
        _ configuration: DatastoreConfiguration.Tier?, register: RedirectRegister, logger: Logger,
        openImage: @escaping Destager.OpenImage,
        contents: @escaping @Sendable (ImageIdentity) -> RedirectRegister.Contents?,
        isOurs: @escaping @Sendable (ImageIdentity) -> Bool,
        yield: @escaping @Sendable () -> Void
    ) throws(DatastoreError) {
        self.configuration = configuration
        classes = configuration?.classes ?? .metadata
        self.register = register
        self.logger = logger
        self.openImage = openImage
        self.contents = contents
        self.isOurs = isOurs
        self.yield = yield
        do throws(DatastoreError) {
            _ = try attach()
        } catch {
            guard register.mayNeedLog else { throw error }
            try register.noteAway()
            refuse(register.entries, cause: error.message)
        }
    }

    /// What becomes of writes to the file at `path`.
    func mode(of path: String) -> DatastoreConfiguration.TierMode { configuration?.mode(of: path) ?? .off }

    /// Takes note of an open file of an image that the log takes nothing of, or that there is one less.
    func noteModeOff(of image: ImageIdentity, _ isOff: Bool) {
        emptied.withLock { emptied in
            let count = emptied[image, default: 0] + (isOff ? 1 : -1)
            emptied[image] = count > 0 ? count : nil
        }
    }

    /// Whether writes of any file may go to the log and the file both.
    var mayWriteThrough: Bool {
        guard let configuration else { return false }
        return configuration.mode == .writethrough || configuration.modes.contains { $0.mode == .writethrough }
    }

    /// Whether the log takes no writes at all.
    var takesNothing: Bool { configuration?.takesNothing ?? true }

    /// Whether files have to do with the tier at all.
    var isInUse: Bool { configuration != nil || register.mayNeedLog }

    /// The images that the log has blocks of, or had some time.
    var knownImages: Set<ImageIdentity> { Set(register.entries.keys).union(attachment?.log.images ?? []) }

    /// The log in use.
    var attachment: Attachment? { state.withLock { $0.attachment } }

    /// Whether an image cannot be served, because its newest blocks are in a log that is not at hand, or in one whose
    /// blocks may not belong to it any more, or because it has the place of an image with such blocks.
    func isRefused(_ image: ImageIdentity) -> Bool {
        if state.withLock({ $0.areAllRefused || $0.refused[image] != nil }) || !replaced(by: image).isEmpty {
            return true
        }
        guard let entry = register.entry(image) else { return false }
        guard entry.stopped == nil else {
            // It could not be compared when the server started.
            compareStopped()
            return register.entry(image).map { $0.isQuarantined || $0.stopped != nil } ?? false
        }
        return entry.isQuarantined
    }

    /// Enters an image into the register of those that need the log, before its first redirect.
    func enter(_ image: ImageIdentity, path: ByteString, mark: String, for log: RedirectLog) throws(StorageError) {
        guard log.failure == nil else { return }
        do throws(DatastoreError) {
            try register.enter(image, path: path, mark: mark, for: log.identity)
            if isRegisterFailing.load(ordering: .relaxed) { noteRegister(failure: nil) }
        } catch {
            noteRegister(failure: error.message)
            throw registerFailure(error)
        }
    }

    /// Notes, for whoever asks how the log does, why images cannot be registered, or, with nil, that they can.
    private func noteRegister(failure: String?) {
        isRegisterFailing.store(failure != nil, ordering: .relaxed)
        state.withLock { $0.cause = failure.map { "images that are not registered go without the log: \($0)" } }
    }

    func registerFailure(_ error: DatastoreError) -> StorageError {
        logger.error("\(error.message)")
        return StorageError(.system(EIO), operation: "register", device: register.path)
    }
}
