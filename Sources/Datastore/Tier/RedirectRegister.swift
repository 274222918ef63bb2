import BlockStorage
import Glibc
import Tiering

/// Which log counts, and which images may have their newest blocks in it: known without the log, so that they can be
/// refused when it is missing, and that a log whose blocks have been overtaken is never read again.
///
/// An image stands there durably before a write of it is acknowledged that the log alone has. An image that does not
/// stand there has everything itself: what the log has of it is as old as the image's, or older, and is dropped when the
/// log is opened. So whatever is written to an image while the log is not at hand is never overtaken by the log.
///
/// An image is quarantined when somebody else has changed it, until an administrator says whose bytes count. It is noted
/// as being removed while the server removes the last name of its file: only what stands there so, and is then gone, is
/// known to be gone on purpose. How an image looked when the server stopped is noted while it has blocks in the log.
final class RedirectRegister: Sendable {
    static let fileName = "redirected-images"
    /// Of the logs that do not count any more the last so many are remembered.
    static let mostVoidLogs = 64
    /// All are written with each that is new, so that there is an end to it: the log takes nothing of further images.
    static let mostImages = 8192

    /// What changes when somebody writes to a file.
    struct Contents: Equatable, Sendable {
        let size: UInt64
        let modificationTime: FileTime
    }

    /// An image that may have its newest blocks in the log.
    struct Entry: Equatable, Sendable {
        /// The path that the image's file had, or the end of a long one.
        var path: ByteString
        /// The file system that the image was in (``ExportRoot/fileSystemMark``).
        var mark: String
        var isQuarantined = false
        var isBeingRemoved = false
        /// How the image looked when the server stopped, as long as nobody has compared it.
        var stopped: Contents?
    }

    /// A log that does not count any more.
    struct VoidLog: Equatable, Sendable {
        let identity: UInt128
        /// That of its last start as far as it was known then, or more; nil when it is not known.
        var epoch: UInt64?
    }

    struct Content: RegisterContent {
        var log: UInt128?
        var voidLogs: [VoidLog] = []
        var images: [ImageIdentity: Entry] = [:]
        /// Whether images that need the log may not stand here, but in the log alone: in the first version there were ways
        /// to that, and what is here may be an older copy.
        var mayLackImages = false
        /// Whether clients may have written to those without the log, so that an administrator is to say whose blocks count.
        var areLackingDoubtful = false

        /// None is lacking any more.
        mutating func endLacking() { (mayLackImages, areLackingDoubtful) = (false, false) }
    }

    private let register: Register<Content>
    /// What is known of the log itself.
    let notes: Register<LogNotes>

    /// Reads the register of `state`; see ``Register``.
    init(in state: StateDirectory, mayBeOld: Bool, notesMayLack: Bool = true) throws(DatastoreError) {
        register = try Register(Self.fileName, in: state, mayBeOld: mayBeOld)
        notes = try Register(LogNotes.fileName, in: state, mayBeOld: notesMayLack)
    }

    /// See ``Register/upgrade()``.
    func upgrade() throws(DatastoreError) {
        try register.upgrade()
        try notes.upgrade()
    }

    /// See ``Content/mayLackImages``.
    var mayLackImages: Bool { register.get { $0.mayLackImages } }

    /// Whether images may have their newest blocks in the log: those that stand here, or some that should.
    var mayNeedLog: Bool { register.get { !$0.images.isEmpty || $0.mayLackImages } }

    /// Notes durably that images may stand in the log alone.
    ///
    /// - Parameter areDoubtful: see ``Content/areLackingDoubtful``; it stays so.
    func noteLacking(areDoubtful: Bool) throws(DatastoreError) {
        try register.change { content in
            content.mayLackImages = true
            if areDoubtful { content.areLackingDoubtful = true }
        }
    }

    /// Enters the images that stand in the log alone, durably, and into quarantine where they are doubtful.
    ///
    /// - Returns: how many were quarantined.
    func complete(with images: [ImageIdentity]) throws(DatastoreError) -> Int {
        var count = 0
        try register.change { content in
            for image in images where content.images[image] == nil {
                content.images[image] = Entry(
                    path: ByteString(""), mark: "", isQuarantined: content.areLackingDoubtful)
                if content.areLackingDoubtful { count += 1 }
            }
            content.endLacking()
        }
        return count
    }

    /// The file's path.
    var path: String { register.path }

    /// The images and their paths.
    var entries: [ImageIdentity: ByteString] { register.get { $0.images.mapValues(\.path) } }

    /// What is known of an image; nil when it has all blocks itself.
    func entry(_ image: ImageIdentity) -> Entry? { register.get { $0.images[image] } }

    /// The log that counts.
    var log: UInt128? { register.get { $0.log } }

    /// Whether a log does not count any more. One that was opened after the epoch in which that was said may have blocks that
    /// the state directory, an older copy, did not know of.
    func isVoid(_ log: UInt128, epoch: UInt64) -> Bool {
        register.get { content in
            content.voidLogs.contains { $0.identity == log && ($0.epoch.map { epoch <= $0 } ?? true) }
        }
    }

    /// Whether an image may have its newest blocks in the log.
    func contains(_ image: ImageIdentity) -> Bool { register.get { $0.images[image] != nil } }

    /// Whether there is room for an image, or it stands here.
    func hasRoom(for image: ImageIdentity) -> Bool {
        register.get { $0.images[image] != nil || $0.images.count < Self.mostImages }
    }

    /// Enters an image durably, if it is new; unless `log` counts no more, which will not take its blocks then.
    func enter(_ image: ImageIdentity, path: ByteString, mark: String, for log: UInt128) throws(DatastoreError) {
        guard !contains(image) else { return }
        try register.change { content in
            guard content.log == log, content.images[image] == nil else { return }
            content.images[image] = Entry(path: path.endForMessages, mark: mark)
        }
    }

    /// Whether somebody else has changed an image that needs the log, and nobody has said whose bytes count.
    func isQuarantined(_ image: ImageIdentity) -> Bool { entry(image)?.isQuarantined == true }

    /// Puts an image that needs the log into quarantine, or takes it out, durably; of others nothing is noted.
    func setQuarantined(_ isQuarantined: Bool, _ image: ImageIdentity) throws(DatastoreError) {
        try register.change { content in
            content.images[image]?.isQuarantined = isQuarantined
            // How it looks has been judged.
            content.images[image]?.stopped = nil
        }
    }

    /// Changes, durably, what is known of the images.
    func changeImages(_ body: (inout [ImageIdentity: Entry]) -> Void) throws(DatastoreError) {
        try register.change { body(&$0.images) }
    }

    /// The images, and what is known of them.
    var images: [ImageIdentity: Entry] { register.get { $0.images } }

    /// Lets `log` count, durably.
    func use(_ log: UInt128) throws(DatastoreError) {
        try register.change { $0.log = log }
    }

    /// Forgets images, durably: they have everything themselves.
    func remove(_ images: some Sequence<ImageIdentity>) throws(DatastoreError) {
        try register.change { content in
            for image in images { content.images[image] = nil }
        }
    }

    /// Forgets all images, durably: the log is empty.
    func clear() throws(DatastoreError) {
        try register.change { $0.images.removeAll() }
    }

    /// The log does not count any more, durably, and no image needs it: it is empty, its blocks are in the images, or
    /// they are given up.
    ///
    /// - Parameter others: logs that this register does not know, and that count as little.
    func retire(with others: [LogLabel] = []) throws(DatastoreError) {
        let notes = notes.current
        try register.change { content in
            content.images.removeAll()
            content.endLacking()
            var void = others.map { VoidLog(identity: $0.identity, epoch: $0.epoch) }
            if let log = content.log {
                void.append(VoidLog(identity: log, epoch: notes.identity == log ? notes.epoch : nil))
            }
            content.voidLogs = (content.voidLogs + void).suffix(Self.mostVoidLogs)
            content.log = nil
        }
    }
}
