import BlockStorage
import CLinux
import Glibc
import Logging
import Tiering

/// The datastore, for its tier, which is made first.
final class DatastoreReference: @unchecked Sendable {
    /// Set once, before the tier starts.
    weak var datastore: Datastore?
}

extension Datastore {
    // MARK: Administration

    /// Has what administrators have asked for and what takes long end soon, undone, and all of it that comes from now on:
    /// the server stops.
    public func endAdministration() { tier.administrationEnds.store(true, ordering: .relaxed) }

    /// Whether what administrators have asked for is to end.
    public var isAdministrationOver: Bool { tier.isAdministrationOver() }

    /// How the fast device does.
    public func tierStatus() -> TierStatus {
        tier.status { image in
            do throws(DatastoreError) {
                guard let handle = FileHandle(image.bytes) else { throw DatastoreError(.badHandle, "not a handle") }
                guard isServed(image) else {
                    return (nil, "its export is not served any more, or at another path: serve it where it was")
                }
                return (try open(handle, flags: linux_o_path).currentPath.map { ByteString(escaped: $0) }, nil)
            } catch {
                return (nil, "its file cannot be opened (\(error.message))")
            }
        }
    }

    /// Whether the export is served by which an image is known.
    private func isServed(_ image: ImageIdentity) -> Bool {
        FileHandle(image.bytes).flatMap(HandleCodec.exportID).map { roots[$0] != nil } ?? false
    }

    /// Says which images have blocks in the log and belong to no export that is served.
    func noteStrandedImages() {
        for (image, path) in tier.register.entries where !isServed(image) {
            logger.warning(
                """
                \(path): refused by whatever name, its newest blocks are in the redirect log, and the export that it was in \
                is not served any more, or at another path: serve it where it was
                """)
        }
    }

    /// Forgets what the redirect log has of an image whose file cannot be opened, which the server cannot know to be gone for
    /// good. Blocks.
    ///
    /// - Parameter name: its path, or the end of that after a slash, or its identity, as ``tierStatus()`` has them.
    /// - Throws: `noEntry` when there is no such image, or several.
    public func forget(_ name: String) throws(DatastoreError) {
        let orphans = tierStatus().images.filter(\.isOrphaned)
        let matches = orphans.filter { $0.identity == name || $0.path == name || $0.path.hasSuffix("/\(name)") }
        guard let match = matches.first, let image = ImageIdentity(hexadecimal: match.identity) else {
            throw DatastoreError(
                .noEntry,
                "\(name): no image that the redirect log has blocks of, and whose file cannot be opened: see tier list")
        }
        guard matches.count == 1 else {
            throw DatastoreError(
                .noEntry, "\(name): stands for several: name one by its identity, which tier list --json shows")
        }
        // Perhaps by another export's handle, or by none.
        guard !files.openFiles.contains(where: { $0.redirects?.image == image }) else {
            throw DatastoreError(
                .invalidArgument, "\(match.path): is in use: it could not be opened once more just now")
        }
        try tier.forgetOrphan(image)
        let bytes = match.liveBytes.map { "\($0) bytes" } ?? "its blocks"
        logger.notice("\(match.path): \(bytes) in the redirect log were forgotten, as it was said")
        lookIntoReleased()
    }

    /// Moves what the redirect log has to the image files, durably, and returns when nothing that was written before the
    /// call is in the log alone. Blocks.
    ///
    /// - Parameter path: the file of an image, or its descriptor, which stands for all its files; nil for all images.
    /// - Throws: `noEntry` when there is no such file in an export, and what kept blocks in the log.
    public func drain(_ path: String? = nil) throws(DatastoreError) {
        guard let attachment = tier.attachment else {
            guard tier.isInUse, tierStatus().state == .missing else { return }
            throw DatastoreError(.io, "the redirect log is not at hand")
        }
        var images: [ImageIdentity]?
        if let path { images = try self.images(at: path) }
        do throws(StorageError) {
            if let images {
                for image in images where !tier.isAdministrationOver() {
                    try attachment.destager.drain(
                        image, RedirectTier.everything, isCancelled: tier.isAdministrationOver)
                }
            } else {
                try attachment.destager.pass(sparing: 0, isCancelled: tier.isAdministrationOver)
            }
        } catch {
            throw DatastoreError(error)
        }
        guard !tier.isAdministrationOver() else {
            throw DatastoreError(.retryLater, "the server is stopping, which moves what the time allows")
        }
    }

    /// Moves everything to the images and takes the redirect log out of use, so that the device can be taken away; also
    /// the way out of a log that has failed or is missing. Blocks.
    ///
    /// - Parameter givingUp: whether blocks that cannot be read, or are not at hand, are lost: images are served as they
    ///   were before them. Else it throws when there are such, and nothing has changed.
    public func detachTier(givingUp: Bool = false) throws(DatastoreError) {
        let images = tier.attachment?.log.images ?? []
        // Clients must know that what they have written may be gone, from the moment that it is.
        if givingUp { verifier.renew() }
        guard try tier.detach(givingUp: givingUp) else { return }
        verifier.renew()
        forgetContents(of: images)
        lookIntoReleased()
        openImages()
    }

    /// Opens the redirect log again, or makes a new one, in the configured directory: after ``detachTier(givingUp:)``,
    /// after a failure, or when the device was missing at the start. Blocks.
    ///
    /// - Throws: also when the log is in use.
    ///
    /// - Parameter adopting: whether the log that is there counts, though it is an older copy, or in other files, than the
    ///   one that was used last.
    public func attachTier(adopting: Bool = false) throws(DatastoreError) {
        let images = try tier.attach(byAdministrator: true, adopting: adopting)
        // Clients must know that what they have written may be gone.
        if adopting { verifier.renew() }
        forgetRefusedImages()
        forgetContents(of: images)
        settleRemovals()
        lookIntoReleased()
        openImages()
    }

    /// Serves an image again that is refused because another program changed it while its newest blocks were in the
    /// redirect log, or because it has the place of an image that has blocks there and cannot be opened. Blocks.
    ///
    /// - Parameter keepingLog: whether the log's blocks count, and are laid over what the file holds; else they are lost.
    /// - Throws: also when the image was not changed so.
    public func resolve(_ path: String, keepingLog: Bool) throws(DatastoreError) {
        let images = try images(at: path)
        let changed = images.filter(tier.awaitsDecision)
        let replaced = images.flatMap(tier.replaced)
        guard !changed.isEmpty || !replaced.isEmpty else {
            throw DatastoreError(.invalidArgument, "\(path): is not refused for a change by another program")
        }
        // They lie where the other file had them, which nothing but its path says this one is a copy of.
        guard !keepingLog || replaced.isEmpty else {
            throw DatastoreError(
                .invalidArgument,
                "\(path): is another file than the one that the redirect log has blocks of, which cannot be laid over this "
                    + "one: have the old file back, or lose its blocks with --keep file")
        }
        // Clients must know that what they have written may be gone, from the moment that it is.
        verifier.renew()
        defer {
            verifier.renew()
            lookIntoReleased()
            openImages()
        }
        for image in changed {
            try tier.resolve(image, keepingLog: keepingLog) { () throws(DatastoreError) in try lengthen(image) }
        }
        for image in replaced { try tier.forgetOrphan(image) }
    }

    /// Makes the file of an image that is refused as long, durably, as it was when the log took what it has of it: another
    /// program may have cut it.
    private func lengthen(_ image: ImageIdentity) throws(DatastoreError) {
        guard let end = tier.attachment?.log.end(of: image), let handle = FileHandle(image.bytes) else { return }
        // No client finds it by its handle.
        let file = files.enter(try open(handle, flags: O_RDONLY), for: nil)
        guard try currentAttributes(of: file).size < end else { return }
        // The change is the server's own, and nothing is moved to the file from the log yet.
        var wasAlone = true
        try files.changeAttributes(of: file, size: nil, wasAlone: &wasAlone) { () throws(DatastoreError) in
            let writer: OwnedDescriptor
            do throws(StorageError) { writer = try file.writer() } catch { throw DatastoreError(error) }
            guard ftruncate(writer.rawValue, end) == 0 else { throw DatastoreError.lastSystemError(file.path) }
        }
        do throws(StorageError) { try file.flush() } catch { throw DatastoreError(error) }
    }

    /// The images of the files that `path` stands for.
    private func images(at path: String) throws(DatastoreError) -> [ImageIdentity] {
        let name = FileName(bytes: ByteString(escaped: path).bytes)
        guard let resolved = name.withCString({ realpath($0, nil) }) else { throw DatastoreError.lastSystemError(path) }
        defer { free(resolved) }
        let path = "\(ByteString(UnsafeRawBufferPointer(start: resolved, count: strlen(resolved))))"
        if let session = files.sessions.first(where: { $0.image.path == path }) {
            return session.files.compactMap { $0.redirects?.image }
        }
        guard let root = roots.values.first(where: { Self.path(path, isIn: $0.export.path) }) else {
            throw DatastoreError(.noEntry, "\(path): lies in no export")
        }
        let rawValue = Glibc.open(resolved, linux_o_path | O_NOFOLLOW | O_CLOEXEC)
        guard rawValue >= 0 else { throw DatastoreError.lastSystemError(path) }
        return images.identity(of: try OwnedDescriptor(taking: rawValue, in: root)).map { [$0] } ?? []
    }

    /// What is known of the contents of these images does not hold.
    private func forgetContents(of images: [ImageIdentity]) {
        for image in images {
            guard let file = FileHandle(image.bytes).flatMap({ try? openFile($0) }) else { continue }
            files.forgetContents(of: file)
        }
    }

    /// Opens the files of the images that the log has blocks of, before it is compared how they looked when the server
    /// stopped: whoever changes them from now on is found (invariant 3). No client may be served yet.
    func watchRedirectedImages() {
        for image in tier.attachment?.log.images ?? [] {
            guard files.hasRoomForImages else {
                return logger.warning(
                    """
                    more images have blocks in the redirect log than files may be open: changes of theirs by other \
                    programs are not seen before clients use them; raise the limit of descriptors
                    """)
            }
            guard let handle = FileHandle(image.bytes), let file = try? open(handle, flags: O_RDONLY) else { continue }
            _ = files.enter(file, for: handle)
        }
    }

    /// Closes the images again that nobody may read or write.
    func forgetRefusedImages() {
        for file in files.openFiles where file.redirects?.isRefused == true { files.forget(file.identity) }
    }

    // MARK: Opening

    /// Opens the tier.
    static func openTier(
        _ configuration: DatastoreConfiguration, _ register: RedirectRegister, _ handles: HandleCodec,
        _ reference: DatastoreReference, _ logger: Logger
    ) throws(DatastoreError) -> RedirectTier {
        try checkTierDirectory(configuration)
        return try RedirectTier(
            configuration.tier, register: register, logger: logger,
            openImage: { (image) throws(StorageError) in
                guard let datastore = reference.datastore else {
                    throw StorageError(.system(ESHUTDOWN), operation: "open for destaging", device: "datastore")
                }
                return try datastore.openForDestaging(image)
            },
            contents: { reference.datastore?.contents(of: $0) },
            isOurs: { image in FileHandle(image.bytes).map { (try? handles.open($0)) != nil } ?? false },
            yield: { reference.datastore?.files.background.yieldToReaders() })
    }

    /// Throws when clients could reach the log.
    private static func checkTierDirectory(_ configuration: DatastoreConfiguration) throws(DatastoreError) {
        for directory in configuration.tier?.directories ?? [] {
            guard let resolved = realpath(directory, nil) else { continue }
            defer { free(resolved) }
            for export in configuration.exports {
                guard let root = realpath(export.path, nil) else { continue }
                defer { free(root) }
                guard path(String(cString: resolved), isIn: String(cString: root)) else { continue }
                throw DatastoreError(
                    .invalidArgument,
                    "\(directory): lies in the export \(export.path), whose clients could change the log")
            }
        }
    }

    /// Throws when the newest blocks of a file are out of reach.
    func checkIsWhole(_ handle: FileHandle) throws(DatastoreError) {
        guard tier.isInUse, let image = images.identity(of: handle), tier.isRefused(image) || images.isStranded(image)
        else { return }
        guard tier.replaced(by: image).isEmpty else {
            throw DatastoreError(
                .io,
                "has the place of an image whose newest blocks are in the redirect log and whose file cannot be opened: see "
                    + "introspectctl tier list")
        }
        throw DatastoreError(
            .io,
            tier.register.isQuarantined(image)
                ? "was changed by another program: introspectctl tier resolve says whose blocks count"
                : "the image's newest blocks are, or may be, in a redirect log that is not at hand")
    }

    /// The device of an image for the destager.
    ///
    /// Throws when it cannot be opened; what the log has is kept then, whatever the reason: an error of the disk, another file
    /// system in its place, or a file that somebody has removed on the server (invariant 11). A file that clients remove takes
    /// its redirects with it.
    private func openForDestaging(_ image: ImageIdentity) throws(StorageError) -> any DestageTarget {
        let file: OpenFile
        do throws(DatastoreError) {
            guard let handle = FileHandle(image.bytes) else { throw DatastoreError(.badHandle, "not a handle") }
            if files.file(for: handle) == nil, let reason = unreachability(of: image) {
                tier.setUnreachable(reason, image)
                throw DatastoreError(.stale, reason)
            }
            tier.setUnreachable(nil, image)
            // It may be open from before a log was attached by which it is refused (invariant 3).
            try checkIsWhole(handle)
            // Of another export of its file system the handle is another.
            guard !tier.isRefused(image) else { throw DatastoreError(.io, "is refused") }
            file = try openFile(handle)
        } catch {
            let path = tier.register.entries[image]?.description ?? image.hexadecimal
            throw StorageError(.system(ESTALE), operation: "open for destaging: \(error.message)", device: path)
        }
        guard !files.noteExternalChange(of: file) else {
            throw StorageError(
                .system(EAGAIN), operation: "open for destaging: its attributes or contents have just been changed",
                device: file.path)
        }
        let open = configuration.tier?.openImage ?? DatastoreConfiguration.Tier.openFile
        return DestagedFile(file, on: try open(file.descriptor.descriptorPath, file.path))
    }

    /// Why the file of an image cannot be opened; nil when it can.
    private func unreachability(of image: ImageIdentity) -> String? {
        do throws(DatastoreError) {
            guard let handle = FileHandle(image.bytes) else { throw DatastoreError(.badHandle, "not a handle") }
            _ = try open(handle, flags: linux_o_path)
            return nil
        } catch {
            return error.message
        }
    }

    /// What an image looks like now; nil when it cannot be reached.
    ///
    /// - Parameter durably: whether it must look so after a power failure, too.
    func contents(of image: ImageIdentity, durably: Bool = false) -> RedirectRegister.Contents? {
        guard let handle = FileHandle(image.bytes), let file = try? open(handle, flags: linux_o_path),
            !durably || (try? file.sync()) != nil, let attributes = try? file.attributes()
        else { return nil }
        return .init(size: attributes.size, modificationTime: attributes.modificationTime)
    }
}

extension ImageIdentity {
    /// The identity of the file of `handle`: the handle, which stays the same as long as the file exists.
    init?(_ handle: FileHandle) {
        self.init(handle.withUnsafeBytes { Array($0) })
    }
}
