import BlockStorage
import Glibc
import Synchronization
import Tiering

/// The redirected blocks of one open file.
final class FileRedirects: Sendable {
    /// What the log knows it by when it has nothing of it yet: as it was when it was opened.
    private let openedImage: ImageIdentity
    /// See ``identify(_:path:)``; nil as long as it is ``openedImage``.
    let copiedImage = Locked<ImageIdentity?>(nil)
    let isCopied = Atomic(false)
    let identification = Atomic(Identification.isOpen)
    let images: ImageIdentities
    let openedIdentity: OpenFile.Identity
    let tier: RedirectTier
    /// See ``ExportRoot/fileSystemMark``.
    private let mark: String
    let isStranded: Bool
    private let isRemoved = Atomic(false)
    /// The attachment of the log with which the file was found not to be refused.
    private let knownAttachment = Atomic<UInt64>(0)
    private let sequentialWrites = Locked(SequentialWrites())
    private let mode = Locked(DatastoreConfiguration.TierMode.writeback, .branch)
    private let knownPath = Locked("")

    init?(of file: OwnedDescriptor, _ tier: RedirectTier, _ images: ImageIdentities) {
        guard let image = images.identity(of: file) else { return nil }
        self.tier = tier
        self.images = images
        openedImage = image
        openedIdentity = OpenFile.Identity(device: file.device, inode: file.inode)
        mark = file.root.fileSystemMark
        isStranded = images.isStranded(image)
        setMode(path: file.currentPath ?? tier.register.entry(image)?.path.description ?? "")
    }

    deinit {
        if mode.withLock({ $0 }) == .off { tier.noteModeOff(of: image, false) }
    }

    /// What the log knows the file by.
    var image: ImageIdentity {
        guard isCopied.load(ordering: .acquiring) else { return openedImage }
        return copiedImage.withLock { $0 } ?? openedImage
    }

    /// What a write goes to.
    enum Taker {
        case file, log, both
    }

    /// Whether writes of the file may go to log and file both, now or under another name.
    var mayWriteThrough: Bool { tier.mayWriteThrough }

    /// The file has got another path, which may say another mode.
    /// Of all that have, ``RedirectTier/noteRenames(_:)`` is told then.
    func noteRename(to path: String) { setMode(path: path) }

    /// The path that the file was last known by.
    var path: String { knownPath.withLock { $0 } }

    private func setMode(path: String) {
        let new = tier.mode(of: path)
        knownPath.withLock { $0 = path }
        mode.withLock { mode in
            if (mode == .off) != (new == .off) { tier.noteModeOff(of: image, new == .off) }
            mode = new
        }
    }

    /// The log knows the file by another identity from now on.
    func use(_ image: ImageIdentity) {
        mode.withLock { mode in
            if mode == .off { tier.noteModeOff(of: self.image, false) }
            copiedImage.withLock { $0 = image }
            isCopied.store(true, ordering: .releasing)
            if mode == .off { tier.noteModeOff(of: image, true) }
        }
    }

    /// See ``RedirectTier/noteForeignChange(of:path:)``.
    func noteForeignChange(path: String) -> Bool { tier.noteForeignChange(of: image, path: path) }

    /// Whether the newest blocks of the image are out of reach.
    var isRefused: Bool { isStranded || tier.isRefused(image) }

    func hasRedirect(_ range: ByteRange) -> Bool { tier.attachment?.log.hasRedirect(range, of: image) ?? false }

    /// Whether anything of the file is redirected.
    var hasAny: Bool { hasRedirect(RedirectTier.everything) }

    /// The log in use, if there is one. Throws when the file is refused since it was attached: whoever has it open from before
    /// neither reads what may be older than the file, nor writes to either (invariants 2 and 3).
    private func attachment() throws(StorageError) -> RedirectTier.Attachment? {
        guard let attachment = tier.attachment else { return nil }
        guard knownAttachment.load(ordering: .relaxed) != attachment.number else { return attachment }
        guard !isRefused else {
            throw StorageError(
                .system(EIO), operation: "is refused since the redirect log was attached: see introspectctl tier list",
                device: path)
        }
        knownAttachment.store(attachment.number, ordering: .relaxed)
        return attachment
    }

    /// Reads `range`: what is redirected from the log, the rest with `readImage`, which reads all of it.
    ///
    /// What the log cannot give is read from the image where that has everything, too.
    func read(
        _ range: ByteRange, into buffer: UnsafeMutableRawBufferPointer, readImage: () throws(StorageError) -> Void
    ) throws(StorageError) {
        guard let log = try attachment()?.log else { return try readImage() }
        do throws(StorageError) {
            try log.read(range, of: image, into: buffer, readImage: readImage)
        } catch  where !tier.register.contains(image) {
            try readImage()
        }
    }

    /// Lets the log take a write, if it must or `member`'s classes say that it should.
    ///
    /// What the log alone is going to have is the register's to know first, why ever the log takes it: only so is the image
    /// refused when the log is missing, and its blocks kept when the log is opened (invariant 1). When the log fails, what it
    /// has is moved to the images, and this one takes the write.
    ///
    /// - Parameters:
    ///   - fileSize: the size of the file; a write past it makes it longer, and is the file's.
    ///   - makeLengthDurable: makes it durable that the file is as long, before the log alone has the end of it.
    ///   - writer: the file, open for writing; see ``identify(_:path:)``.
    ///   - held: the write as the file's ranges have it; the destager may have the range while this waits for it.
    func write(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, fileSize: Int, member: ImageSession.Member?, path: String,
        makeLengthDurable: (Int) throws(StorageError) -> Void, writer: () throws(StorageError) -> OwnedDescriptor,
        holding held: (ranges: RangeTable, ticket: RangeTable.WriteTicket)
    ) throws(StorageError) -> Taker {
        guard !isRemoved.load(ordering: .acquiring), let log = try attachment()?.log else { return .file }
        let range = ByteRange(offset: offset, length: bytes.count)
        let lending = { (wait: () throws(StorageError) -> Void) throws(StorageError) in
            try held.ranges.lending(held.ticket, wait)
        }
        guard range.end <= fileSize else {
            try lending { () throws(StorageError) in try drain(range) }
            return .file
        }
        // Asked once: a rename may change it meanwhile.
        let mode = mode.withLock { $0 }
        var (isChosen, label) = mode == .off ? (false, 0) : choose(bytes, range, member)
        if isChosen { isChosen = try mayTake(writer, path: path) }
        // Asked once, and after that: what began before another write chose another identity finds nothing of it in the log.
        let image = image
        let isWanted = isChosen && (mode == .writethrough || tier.register.hasRoom(for: image))
        if mode != .writethrough, isWanted || log.hasRedirect(range, of: image) {
            do throws(StorageError) {
                // The path is put together for an image that is new alone.
                if !tier.register.contains(image) {
                    try tier.enter(image, path: ByteString(escaped: path), mark: mark, for: log)
                }
            } catch  where log.failure == nil {
                // The image has everything itself, and can do without a log that must not have what no register knows.
                try lending { () throws(StorageError) in try drain(range) }
                return .file
            }
            try makeLengthDurable(range.end)
        }
        do throws(StorageError) {
            let isTaken = try log.write(
                bytes, to: image, at: offset, priority: label, isWanted: isWanted, whileWaiting: lending)
            return !isTaken ? .file : mode == .writethrough ? .both : .log
        } catch  where log.failure != nil {
            try lending { () throws(StorageError) in try evacuate(log) }
            return .file
        }
    }

    /// The file has not taken what the log has of a write that both were to take, which fails: what is read of it now must
    /// be what is read after a restart (invariant 2).
    ///
    /// Where the file has everything itself and has kept it, the log's bytes go; else the log has the newest from now on.
    func noteMissedWrite(_ range: ByteRange, isUntouched: Bool, path: String) {
        guard let attachment = tier.attachment else { return }
        if isUntouched, !tier.register.contains(image), (try? attachment.destager.discard(image, range)) != nil {
            return
        }
        // Whatever keeps it out of the register is logged there.
        try? tier.enter(image, path: ByteString(escaped: path), mark: mark, for: attachment.log)
    }

    /// Has everything moved to the images by a log that has failed; others of its images may have to stay there.
    private func evacuate(_ log: RedirectLog) throws(StorageError) {
        do throws(StorageError) {
            try tier.evacuate()
        } catch  where !log.hasRedirect(RedirectTier.everything, of: image) {}
    }

    /// Whether the log should take a write of `range`, and under what label.
    private func choose(
        _ bytes: UnsafeRawBufferPointer, _ range: ByteRange, _ member: ImageSession.Member?
    ) -> (isWanted: Bool, label: UInt8) {
        guard let member else { return (false, 0) }
        var wanted = 0
        var label: UInt8 = 0
        var isMetadata = true
        member.forEachClass(ofWrite: bytes, at: range.offset) { run, blockClass in
            guard tier.classes.contains(blockClass) else { return }
            wanted += run.length
            label = blockClass.rawValue
            if !blockClass.isMetadata { isMetadata = false }
        }
        guard wanted == range.length else { return (false, label) }
        return (isMetadata || !sequentialWrites.withLock { $0.note(range) }, label)
    }

    /// Moves what is redirected of `range` to the file, durably.
    func drain(_ range: ByteRange) throws(StorageError) {
        guard let attachment = tier.attachment else { return }
        do throws(StorageError) {
            try attachment.destager.drain(image, range)
        } catch  where attachment.log.failure != nil {
            try evacuate(attachment.log)
        }
    }

    /// Whether anything is known of the image that must be forgotten when it goes.
    var isKnown: Bool { tier.register.contains(image) || hasAny }

    /// Forgets all redirects of the file, whose last name is gone, durably.
    func discard() throws(StorageError) { try tier.forget(image) }

    /// The file is gone: no more of its writes are taken; the writes under way in `ranges` end first.
    func remove(_ ranges: RangeTable) {
        isRemoved.store(true, ordering: .releasing)
        ranges.waitForWrites()
    }
}

/// A file that the destager writes to: by a descriptor of its own, which reports the failures of its own writes.
struct DestagedFile: DestageTarget {
    private let file: OpenFile
    private let device: any BlockDevice

    /// - Parameter device: `file`, opened for this alone.
    init(_ file: OpenFile, on device: any BlockDevice) {
        self.file = file
        self.device = device
    }

    var name: String { file.path }
    var size: Int { device.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try device.read(into: buffer, at: offset)
    }

    /// Holds the range against the writes of clients, where one may go to the file and the log. Else the log alone has
    /// what they write over its blocks, and nobody need wait.
    func exclusively(_ range: ByteRange, _ body: () throws(StorageError) -> Void) throws(StorageError) {
        guard file.redirects?.mayWriteThrough == true else { return try body() }
        try file.ranges.whileDestaging(range.aligned(to: PageCache.pageSize), body)
    }

    /// Writes, unless another program has changed the image, and takes note that the new time of change is the server's
    /// doing.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        let change = file.beginChange(ByteRange(offset: 0, length: 0))
        guard change.external == nil, !file.isRefused else {
            file.abandonChange(change)
            throw changedByOthers
        }
        let outcome = Result { () throws(StorageError) in try device.write(bytes, at: offset) }
        _ = file.endChange(change, isDurable: true)
        try outcome.get()
    }

    /// Flushes, and makes sure that the image is still what was written: the log drops blocks on the strength of this, and
    /// of an image that another program has changed meanwhile it keeps them until somebody says whose count (invariant 3).
    func flush() throws(StorageError) {
        do throws(StorageError) {
            try device.flush()
        } catch {
            file.forgetFailedWrites()
            throw error
        }
        try checkUnchanged()
    }

    private func checkUnchanged() throws(StorageError) {
        let change = file.beginChange(ByteRange(offset: 0, length: 0))
        let isChanged = change.external != nil || file.isRefused
        file.abandonChange(change)
        guard !isChanged else { throw changedByOthers }
    }

    private var changedByOthers: StorageError {
        StorageError(.system(ESTALE), operation: "destage: changed by another program", device: file.path)
    }
}
