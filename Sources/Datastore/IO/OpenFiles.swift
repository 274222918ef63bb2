import BlockStorage
import CLinux
import DiskImages
import Glibc
import Logging
import Synchronization
import Tiering
import Volumes

/// The files that clients read and write now, and the disk images that they are part of.
///
/// A file stays open while it is used, and for as long as it belongs to a recognised image; others are closed after a
/// minute without use. Twice a second the table looks after what has to wait: files that grew are looked at again
/// once they are quiet, scans that were put off are started.
final class OpenFiles: Sendable {
    /// Smaller files are no disks that would be worth a look.
    static let smallestImage = 1 << 20
    private static let idleTime = Duration.seconds(60)
    private static let quietTime = Duration.seconds(2)
    /// A server that is started beneath running guests finds none of their disks quiet.
    private static let patience = Duration.seconds(10)
    private static let roundsUntilWriterCloses = 10
    private static let deepestWalk = 16
    private static let longestWalk = 100_000
    /// How often a change looks for external modifications before it goes on beside them.
    private static let mostLooks = 3

    let cache: PageCache
    let background = BackgroundWork()
    private let introspects: Bool
    /// Where saved maps lie; see ``DatastoreConfiguration/mapsDirectory``.
    private let maps: String?
    let logger: Logger
    private let verifier: WriteVerifier
    private let fileState: @Sendable (OwnedDescriptor) -> FileState?
    private let lookInterval: Double
    private let noteMoves: @Sendable ([OpenFile]) -> Void
    private let buffers = BufferPool()
    let table = Locked(OpenFileTable(), .openFiles)
    /// How many files may be open, so that descriptors are left for everything else.
    let mostFiles = Atomic(OpenFiles.affordableFiles())
    let hasNotedLimit = Atomic(false)
    /// How many files were open when none could be closed last; 0 when some could.
    let countWithoutRoom = Atomic(0)
    private let rounds = IOPool(name: "open-files", threadCount: 1)
    /// Does what follows when a file is gone, which may take long and wait for writes: no client waits for that.
    private let farewells = IOPool(name: "removed-files", threadCount: 1)
    /// What ``joinVolumeGroups()`` has looked at: with nothing new there is nothing to find.
    private let lookedAt = Locked<[ScannedSession]>([])

    private struct ScannedSession: Equatable {
        let session: ObjectIdentifier
        let path: String
        let scanCount: Int
    }

    /// An empty table.
    ///
    /// - Parameters:
    ///   - lookInterval: how often files are looked after, in seconds.
    ///   - noteMoves: is told, each time that files are looked after, of those that have got other paths.
    ///   - fileState: finds what the server keeps of a file while it is not open.
    init(
        introspects: Bool, maps: String?, cache: PageCache, verifier: WriteVerifier, logger: Logger,
        lookInterval: Double, noteMoves: @escaping @Sendable ([OpenFile]) -> Void,
        fileState: @escaping @Sendable (OwnedDescriptor) -> FileState?
    ) {
        self.noteMoves = noteMoves
        self.fileState = fileState
        self.introspects = introspects
        self.maps = maps
        self.cache = cache
        self.verifier = verifier
        self.logger = logger
        self.lookInterval = lookInterval
    }

    /// Has files looked after from now on.
    func start() {
        rounds.submit { [weak self, background, lookInterval] in
            while !background.isStopping {
                self?.lookAfterFiles()
                background.pause(seconds: lookInterval)
            }
        }
    }

    // MARK: Finding files

    /// All files that are open.
    var openFiles: [OpenFile] { table.withLock { $0.files.map(\.file) } }

    /// The open file of a handle; nil when it is not open.
    func file(for handle: FileHandle) -> OpenFile? {
        table.withLock { $0[handle] }
    }

    /// Enters a file that has just been opened for `handle`, or returns the one that was open already.
    func enter(_ descriptor: OwnedDescriptor, for handle: FileHandle?) -> OpenFile {
        while true {
            // Made without the lock: the registers are asked, and closing others takes time. If somebody else is faster,
            // his is taken.
            let isKnown = file(device: descriptor.device, inode: descriptor.inode) != nil
            if !isKnown { makeRoom() }
            if let file = enter(isKnown ? nil : makeFile(descriptor), descriptor, for: handle) { return file }
        }
    }

    /// Enters the file of `descriptor` that is open already, or else `made`; nil when there is neither.
    private func enter(_ made: OpenFile?, _ descriptor: OwnedDescriptor, for handle: FileHandle?) -> OpenFile? {
        let identity = OpenFile.Identity(device: descriptor.device, inode: descriptor.inode)
        return table.withLock { $0.enter(made, identity, for: handle) }
    }

    /// The open file of an inode, for operations that change it by name; nil when it is not open.
    func file(device: UInt64, inode: UInt64) -> OpenFile? {
        table.withLock { $0[OpenFile.Identity(device: device, inode: inode)] }
    }

    /// Runs `body`, which changes attributes of the file, or sets its size to `size`: with nothing else under way where the
    /// file ends now or then, nothing redirected before it, and nothing cached of that afterwards.
    ///
    /// - Parameter wasAlone: set to whether no other change was under way at any time during this one.
    func changeAttributes(
        of file: OpenFile, size: Int?, wasAlone: inout Bool, _ body: () throws(DatastoreError) -> Void
    ) throws(DatastoreError) {
        var affected = ByteRange(offset: 0, length: 0)
        if let size {
            let start = min(size, (try? file.size()) ?? 0)
            affected = ByteRange(offset: start, length: Int.max - start)
        }
        let change: OpenFile.OwnChange
        do throws(StorageError) {
            change = try beginChange(of: file, affected)
        } catch {
            throw DatastoreError(error)
        }
        let ticket = change.ticket
        let outcome = Result { () throws(DatastoreError) in
            if size != nil {
                file.durableLength.withLock { $0.noteCut() }
                try file.ranges.lending(ticket) { () throws(DatastoreError) in try drain(file.redirects, affected) }
            }
            try body()
        }
        if size != nil {
            file.durableLength.withLock { $0.noteCut() }
            file.forgetPages(of: affected)
        }
        wasAlone = endChange(change, of: file, isDurable: size == nil).before != nil
        try outcome.get()
    }

    /// Moves redirected blocks of `range` to the file before it is cut there.
    private func drain(_ redirects: FileRedirects?, _ range: ByteRange) throws(DatastoreError) {
        do throws(StorageError) {
            try redirects?.drain(range)
        } catch {
            logger.error("\(error)")
            throw DatastoreError(error)
        }
    }

    // MARK: Changes

    /// Notes a change of ours of `range` once nothing else is under way there, and sees to it that what another program
    /// has written before is not overlooked; see ``OpenFile/beginChange(_:)``. Waits; ends with ``endChange(_:of:isDurable:)``.
    ///
    /// - Throws: when the image is refused because another program has changed it.
    func beginChange(of file: OpenFile, _ range: ByteRange) throws(StorageError) -> OpenFile.OwnChange {
        for _ in 0..<Self.mostLooks {
            let change = file.beginChange(range)
            guard let external = change.external else { return try unlessRefused(change, file) }
            // Not in the change's place: what is done here waits for others.
            file.abandonChange(change)
            forgetChangedContents(of: file, external)
        }
        // Somebody writes to the file all the time; what is known was forgotten a moment ago.
        return try unlessRefused(file.beginChange(range), file)
    }

    private func unlessRefused(
        _ change: consuming OpenFile.OwnChange, _ file: OpenFile
    ) throws(StorageError) -> OpenFile.OwnChange {
        guard !file.isRefused else {
            file.abandonChange(change)
            throw StorageError(.system(EIO), operation: "write: was changed by another program", device: file.path)
        }
        return change
    }

    /// Ends a change of ours; a file that has lost its last name meanwhile is gone for clients.
    func endChange(
        _ change: consuming OpenFile.OwnChange, of file: OpenFile, isDurable: Bool
    ) -> WeakCacheConsistency {
        var wcc = file.endChange(change, isDurable: isDurable)
        if wcc.after?.linkCount == 0 {
            wcc.after = nil
            forgetRemoved(file.descriptor, isDurable: false)
        }
        return wcc
    }

    /// Takes note that `descriptor`'s file got or lost a name by our doing, so that its new time of change is not taken
    /// for another program's.
    func noteNameChange(of descriptor: OwnedDescriptor) {
        file(device: descriptor.device, inode: descriptor.inode)?.noteNameChange()
    }

    // MARK: Removed files

    /// Forgets a file whose last name is gone; closing it and ending its image's session are done in the background.
    func forget(_ identity: OpenFile.Identity) {
        let session = table.withLock { table -> ImageSession? in
            guard let session = table.remove(identity)?.member?.session else { return nil }
            table.remove(session)
            return session
        }
        guard let session else { return }
        farewells.submit { session.close() }
    }

    /// Forgets a file whose last name is gone, and in the background what the log has of it.
    ///
    /// - Parameter isDurable: whether the removal is on stable storage. The log's blocks go only then: a file that is
    ///   there again after a power failure needs them.
    func forgetRemoved(_ descriptor: OwnedDescriptor, isDurable: Bool) {
        let file = file(device: descriptor.device, inode: descriptor.inode)
        forget(OpenFile.Identity(device: descriptor.device, inode: descriptor.inode))
        farewells.submit { [weak self] in
            guard isDurable || (try? descriptor.syncRemoval()) != nil else { return }
            self?.forgetRedirects(of: descriptor, file)
            self?.forgetLateTimes(of: descriptor, file)
        }
    }

    /// Ends what follows removals.
    func finishFarewells() { farewells.shutDown() }

    /// Forgets the redirected blocks of `descriptor`'s file, whose last name is gone.
    private func forgetRedirects(of descriptor: OwnedDescriptor, _ file: OpenFile?) {
        guard let redirects = file?.redirects ?? fileState(descriptor)?.redirects else { return }
        if let file { redirects.remove(file.ranges) }
        do throws(StorageError) {
            try redirects.discard()
        } catch {
            logger.error("\(error): redirected blocks of a removed file stay in the log")
        }
    }

    /// Forgets that the time of `descriptor`'s file, whose last name is gone, may be late.
    private func forgetLateTimes(of descriptor: OwnedDescriptor, _ file: OpenFile?) {
        // None that ends later may enter it again.
        file?.ranges.waitForWrites()
        do throws(DatastoreError) {
            try (file?.lateTimes ?? fileState(descriptor)?.lateTimes)?.forget()
        } catch {
            logger.warning("\(error.message)")
        }
    }

    // MARK: External modification

    /// Finds out whether another program has changed the file, and forgets what was known of its contents then.
    ///
    /// - Returns: whether it has.
    @discardableResult func noteExternalChange(of file: OpenFile) -> Bool {
        guard let attributes = try? file.descriptor.attributes(), file.mayBeChanged(attributes),
            let change = file.externalChange()
        else { return false }
        forgetChangedContents(of: file, change)
        return true
    }

    /// Another program has changed the file: nothing that is known of its contents holds, and it may be refused.
    ///
    /// Whoever finds the change does all of this before going on, also beside others: it may be done twice.
    private func forgetChangedContents(of file: OpenFile, _ change: ExternalChanges.Change) {
        LockRank.willWait(for: "what follows an external modification")
        if change.isCertain {
            logger.notice("\(file.path): was changed by another program, its contents are read again")
        }
        // First: a reader may still put into the cache what it finds in the log.
        let isRefused = change.isCertain && file.redirects?.noteForeignChange(path: file.path) == true
        if isRefused { file.refuse() }
        forgetContents(of: file)
        file.endExternalChange(change)
        guard isRefused else { return }
        _ = flush(file)
        forget(file.identity)
    }

    /// Nothing that is known of the file's contents holds.
    func forgetContents(of file: OpenFile) {
        file.durableLength.withLock { $0.noteCut() }
        file.forgetPages()
        // Whatever it is found to be, it is scanned then, once.
        file.requestIdentification()
    }

    /// The images that introspection follows.
    var sessions: [ImageSession] {
        table.withLock { Array($0.sessions.values) }.sorted { $0.image.path < $1.image.path }
    }

    /// Files that seem to be images of a kind that is not understood, by path, each with the reason.
    var foreignImages: [(path: String, reason: String)] {
        let all = table.withLock { $0.foreign }
        var status = stat()
        let gone = all.keys.filter { lstat($0, &status) != 0 }
        table.withLock { table in for path in gone { table.forgetForeign(path) } }
        return all.filter { !gone.contains($0.key) }.map { ($0.key, $0.value) }.sorted { $0.path < $1.path }
    }

    /// Opens the files of a directory tree that may be disk images, so that they are known before a client asks.
    func openImages(under root: ExportRoot) {
        guard introspects, let directory = try? root.open() else { return }
        var remaining = Self.longestWalk
        openImages(in: directory, depth: 0, remaining: &remaining)
    }

    private func openImages(in directory: OwnedDescriptor, depth: Int, remaining: inout Int) {
        guard depth < Self.deepestWalk, let readable = try? directory.reopened(O_RDONLY | O_DIRECTORY) else { return }
        // What cannot be read, clients will ask for or not.
        _ = try? DirectoryStream(readable.rawValue).forEach { (entry) throws(DatastoreError) in
            guard !entry.isDot else { return true }
            guard remaining > 0, hasRoomForImages, !background.isStopping else { return false }
            remaining -= 1
            let name = FileName(bytes: entry.name)
            guard let found = try? directory.root.openEntry(name, of: directory.rawValue, flags: linux_o_path) else {
                return true
            }
            if found.type == .directory {
                openImages(in: found, depth: depth + 1, remaining: &remaining)
            } else if Self.mayBeImage(name.description, size: Int(clamping: found.openedAttributes.size)) {
                _ = openPart(found)
            }
            return true
        }
    }

    private static func mayBeImage(_ path: String, size: Int) -> Bool {
        size >= smallestImage || path.hasSuffix(".vmdk")
    }

    /// Makes everything durable and ends the work in the background; the table is not used after that.
    ///
    /// - Returns: whether everything is durable.
    func close() -> Bool {
        background.end()
        rounds.shutDown()
        let files = openFiles
        var isDurable = true
        for file in files where file.isDirty {
            isDurable = flush(file) && isDurable
        }
        for session in sessions {
            session.close(keepingMap: true)
        }
        return isDurable
    }

    private func makeFile(_ descriptor: OwnedDescriptor) -> OpenFile {
        LockRank.willWait(for: "what is known of a file")
        let file = OpenFile(
            descriptor, cache: cache, buffers: buffers, verifier: verifier, state: fileState(descriptor))
        // This may wait for the disk here: then the kernel knows it, and a READ on an event loop waits for nothing.
        _ = file.accessControlList.exists(for: descriptor.rawValue, descriptor.openedAttributes)
        return file
    }

    /// Makes what was written to `file` durable; returns whether it is.
    func flush(_ file: OpenFile) -> Bool {
        do throws(StorageError) {
            try file.flushAll()
            return true
        } catch {
            logger.error("\(error): unstable writes may be lost, clients are told to send theirs again")
            return false
        }
    }

    /// A flush of `descriptor`'s file has failed that was not its own.
    func noteFailedFlush(of descriptor: OwnedDescriptor) {
        guard let file = file(device: descriptor.device, inode: descriptor.inode) else { return verifier.renew() }
        file.forgetFailedWrites()
    }

    // MARK: Twice a second

    private func lookAfterFiles() {
        lookAfterEachFile()
        closeIdleFiles()
        joinVolumeGroups()
        for session in sessions {
            session.startDueWork()
        }
    }

    private func lookAfterEachFile() {
        noteRenames(of: openFiles)
        let files = table.withLock { $0.files }
        for (file, lastUse) in files where !forgetIfRemoved(file) {
            // Of others the next access finds out.
            if file.redirects?.hasAny == true { noteExternalChange(of: file) }
            if introspects, file.takeIdentificationRequest(quiet: Self.quietTime, patience: Self.patience) {
                identify(file)
            }
            noteUse(of: file, since: lastUse)
            file.closeIdleWriter(after: Self.roundsUntilWriterCloses)
        }
    }

    /// Finds out which files have got another path. Before any of them is looked into, which would note it of that one alone.
    private func noteRenames(of files: [OpenFile]) {
        let renamed = files.filter { $0.takeRename() }
        // The image is known by its path, and a descriptor names its other files.
        for file in renamed where file.member != nil { file.requestIdentification() }
        noteMoves(renamed)
    }

    /// Closes a file that somebody else has removed: it takes room on the disk and in the cache until then.
    ///
    /// That it has no name is seen here, which is the only proof that it was removed. Its redirects go when that is durable
    /// (invariant 11).
    private func forgetIfRemoved(_ file: OpenFile) -> Bool {
        guard let attributes = try? file.descriptor.attributes(), attributes.linkCount == 0 else { return false }
        forgetRemoved(file.descriptor, isDurable: false)
        return true
    }

    private func noteUse(of file: OpenFile, since lastUse: ContinuousClock.Instant) {
        guard file.takeUse() else { return }
        table.withLock { $0.noteUse(of: file.identity) }
    }

    /// Closes files that nobody has used for a while, and ends images all of whose files are such and not in the cache.
    func closeIdleFiles(before limit: ContinuousClock.Instant = .now - OpenFiles.idleTime) {
        endIdleSessions(before: limit)
        let idle = leastUsedFiles(before: limit)
        close(table.withLock { $0.removeUnused(idle) })
    }

    /// Ends images none of whose files was used since `limit`, or is kept for something else.
    func endIdleSessions(before limit: ContinuousClock.Instant) {
        let lastUses = lastUses()
        // They stay open, and would be looked into again at once.
        let kept = filesWithRedirects()
        for session in sessions where !session.isBusy || session.hasFailed {
            let isIdle = session.files.allSatisfy {
                !$0.isCached && !kept.contains($0.identity) && lastUses[$0.identity].map { $0 < limit } != false
            }
            if isIdle { end(session) }
        }
    }

    // MARK: Recognising images

    /// Has an image looked at as soon as its files are quiet.
    private func identify(_ file: OpenFile) {
        do throws(StorageError) {
            let size = try file.size()
            // Whoever reads thousands of small files by old handles has the export looked through for none of them.
            if size >= Self.smallestImage || file.isPathKnown || file.looksLikeDescriptor {
                guard file.findPath() else { return file.requestIdentification() }
            }
            guard Self.mayBeImage(file.path, size: size) else {
                file.member?.session.requestScan()
                return
            }
        } catch {
            return logger.warning("\(error)")
        }
        let path = file.path
        do throws(ImageError) {
            let files = file.descriptor.root.hostFiles(besides: file.descriptor, at: path)
            if let image = try DiskImage.identify(path: path, in: files) {
                replaceSession(of: file, at: path, by: image)
            } else {
                replaceSession(of: file, at: path, by: try .raw(path: path, in: files))
            }
        } catch {
            let isNew = table.withLock { $0.noteForeign(path, "\(error.message)") }
            if isNew { logger.notice("\(error); served as a file") }
            if let old = file.member?.session { end(old) }
            if error.mayPass { file.requestIdentificationLater() }
        }
    }

    private func replaceSession(of file: OpenFile, at path: String, by image: DiskImage) {
        if let old = file.member?.session {
            // The flat file of a descriptor is a disk on its own, too, but the descriptor's session knows more.
            guard old.files.count <= image.files.count || old.hasOutgrown(file, size: image.size) else {
                return old.requestScan()
            }
            guard old.image.size != image.size || old.image.files != image.files else { return old.requestScan() }
            end(old)
        }
        var files: [OpenFile] = []
        for hostFile in image.files {
            let known = hostFile.path == path ? file : nil
            guard let part = known ?? file.descriptor.root.openFile(at: hostFile.path).flatMap(openPart) else {
                return logger.warning("\(image.path): \(hostFile.path) cannot be opened, served as files")
            }
            // What is in the file is not what its image holds.
            guard part.redirects?.isRefused != true else {
                return logger.notice(
                    "\(hostFile.path): not looked into while it is refused, see introspectctl tier list")
            }
            // Of a file that was opened by its handle alone the path, and with it the mode, is known only now.
            if let redirects = part.redirects {
                redirects.noteRename(to: hostFile.path)
                redirects.tier.noteRenames([redirects])
            }
            files.append(part)
        }
        // Another image may have had one of the files: a descriptor takes its extents over.
        for session in Set(files.compactMap { $0.member?.session.image.path }).compactMap(session) {
            guard session.files.count <= files.count else { return }
            end(session)
        }
        let map = maps.flatMap { SavedMapFile(of: image, in: file.descriptor.root, maps: $0) }
        let session = ImageSession(
            image: image, files: files, map: map, cache: cache, background: background, logger: logger)
        serve(session)
    }

    /// Has images read as one whose LVM2 volume groups reach over several of them.
    ///
    /// - Returns: whether there was anything to look at since the last time.
    @discardableResult func joinVolumeGroups() -> Bool {
        let sessions = sessions.filter { (!$0.isBusy || $0.hasFailed) && $0.lastScan != nil }
        let now = sessions.map {
            ScannedSession(session: ObjectIdentifier($0), path: $0.image.path, scanCount: $0.scanCount)
        }
        let isNew = lookedAt.withLock { known in
            defer { known = now }
            return known != now
        }
        guard isNew else { return false }
        let disks = sessions.map {
            VolumeGroupDisk(path: $0.image.path, volumes: $0.lastScan?.physicalVolumes ?? PhysicalVolumeSet())
        }
        guard let group = VolumeGroupDisk.firstGroup(of: disks) else { return true }
        let members = group.map { sessions[$0] }
        guard let image = DiskImage(joining: members.map(\.image)) else { return true }
        members.forEach(end)
        logger.info(
            "\(members.map(\.image.path).joined(separator: ", ")): read as one, their volume groups belong together")
        let session = ImageSession(
            image: image, files: members.flatMap(\.files), map: nil, cache: cache, background: background,
            logger: logger)
        serve(session)
        return true
    }

    private func session(_ path: String) -> ImageSession? {
        table.withLock { $0.sessions[path] }
    }

    /// Puts an image in service, unless one of its files was removed meanwhile: who forgot that one found no image to end.
    private func serve(_ session: ImageSession) {
        table.withLock { $0.add(session) }
        session.start()
        if session.files.contains(where: \.isForgotten) { end(session) }
    }

    func end(_ session: ImageSession) {
        table.withLock { $0.remove(session) }
        session.close()
    }

    /// Opens a file of an image that was opened as a path only, and by no path again.
    private func openPart(_ place: OwnedDescriptor) -> OpenFile? {
        guard place.type == .regular, let descriptor = try? place.reopened(O_RDONLY) else { return nil }
        return enter(descriptor, for: nil)
    }
}
