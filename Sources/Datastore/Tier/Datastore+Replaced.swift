import BlockStorage
import CLinux
import Glibc
import Tiering

/// Files that stand where an image was that has blocks in the redirect log, and whose own file cannot be opened: a copy on
/// a new disk, or a backup that was put in its place while the server did not run. They are refused until an administrator
/// says that they count: without the log's blocks they are not what clients were told was stable (invariant 1).
extension Datastore {
    /// Finds them. Called at the start, before clients are served. Of what comes to such a place later
    /// ``noteReplacement(by:)`` finds out.
    func findReplacements() {
        for (image, entry) in tier.register.images where !entry.path.bytes.isEmpty {
            guard tier.mayHaveBlocks(of: image), contents(of: image) == nil, !wasBeingRemoved(image, entry) else {
                continue
            }
            tier.replacements.withLock { $0.watch(image, at: entry.path.endForMessages) }
            for file in filesThatStand(at: entry.path) {
                guard let other = images.identity(of: file), !images.isSameFile(other, image) else { continue }
                note(other, for: [image], path: file.currentPath ?? "\(entry.path)")
            }
        }
    }

    /// Takes note that a file stands where images were.
    private func note(_ file: ImageIdentity, for images: Set<ImageIdentity>, path: String) {
        tier.replacements.withLock { $0.note(file, for: images) }
        logger.error(
            """
            \(path): refused, it is another file than the one whose newest blocks are in the redirect log, and which cannot be \
            opened: have that one back in its place, or run introspectctl tier resolve --keep file to serve this one without \
            those blocks
            """)
    }

    /// Whether the server itself was taking the name from the image when it ended: who has the name now may have it from a
    /// client. In another file system than that nothing says so.
    private func wasBeingRemoved(_ image: ImageIdentity, _ entry: RedirectRegister.Entry) -> Bool {
        guard entry.isBeingRemoved, let handle = FileHandle(image.bytes) else { return false }
        return isMounted(handle, entry)
    }

    /// The files at a path of the register, of a long one all that end so.
    private func filesThatStand(at path: ByteString) -> [OwnedDescriptor] {
        guard let end = path.shortenedEnd else {
            let root = roots.values.first { Self.path(path.description, isIn: $0.export.path) }
            return [root?.openFile(at: path.description)].compactMap(\.self).filter { $0.type == .regular }
        }
        var found: [OwnedDescriptor] = []
        for root in roots.values {
            ExportWalk(root: root).forEachEntry { entry, entryName, directory in
                let name = [0x2f] + entry.name
                // The longest names are longer than what is kept.
                let count = min(name.count, end.count)
                guard name.suffix(count).elementsEqual(end.suffix(count)),
                    let parent = OwnedDescriptor.path(of: directory.rawValue),
                    (parent + name).suffix(end.count).elementsEqual(end),
                    let file = try? root.openEntry(entryName, of: directory.rawValue, flags: ExportWalk.pathOnly),
                    file.type == .regular
                else { return true }
                found.append(file)
                return true
            }
        }
        return found
    }

    /// Whether a file that is about to be opened stands where such an image was, in whose place there may have been none at
    /// the start (invariant 1).
    func noteReplacement(by file: OwnedDescriptor) -> Bool {
        guard hasOrphans else { return false }
        guard let path = file.currentPath else {
            refuseReplacements()
            return images.identity(of: file).map { !tier.replaced(by: $0).isEmpty } ?? false
        }
        return noteReplacement(by: file, at: ByteString(escaped: path).endForMessages)
    }

    private func noteReplacement(by file: OwnedDescriptor, at place: ByteString) -> Bool {
        guard let orphans = tier.replacements.withLock({ $0.orphans[place] }), let other = images.identity(of: file)
        else { return false }
        let found = orphans.filter {
            tier.mayHaveBlocks(of: $0) && contents(of: $0) == nil && !images.isSameFile(other, $0)
        }
        guard !found.isEmpty else { return false }
        guard tier.replacements.withLock({ !found.isSubset(of: $0.files[other] ?? []) }) else { return true }
        // One that was in the place before and is gone: clients can put any number there, one after the other.
        let before = tier.replacements.withLock { $0.files.filter { !$0.value.isDisjoint(with: found) }.keys }
        let gone = before.filter { contents(of: $0) == nil }
        tier.replacements.withLock { $0.forget(gone) }
        note(other, for: found, path: file.currentPath ?? "\(place)")
        return true
    }

    private var hasOrphans: Bool { tier.replacements.withLock { !$0.orphans.isEmpty } }

    /// Refuses what stands in the places of such images now, open or not, whoever has put it there, and however: an open
    /// file need not know its path. Of a place that is kept in part opening finds out, and who is told of a move. What has
    /// stood there, and surely does no more, is served again.
    ///
    /// - Parameter directory: in which it is looked at places; nil for all.
    func refuseReplacements(in directory: ByteString? = nil) {
        guard hasOrphans else { return }
        for place in tier.replacements.withLock({ Array($0.orphans.keys) }) where place.shortenedEnd == nil {
            if let directory, !place.bytes.starts(with: directory.bytes) { continue }
            let found = filesThatStand(at: place)
            for file in found { refuseIfReplacement(file, at: place) }
            let standing = found.compactMap(images.identity)
            if !standing.isEmpty || isNothing(at: place) {
                tier.replacements.withLock { $0.keep(standing, at: place) }
            }
        }
    }

    private func isNothing(at place: ByteString) -> Bool {
        var status = stat()
        return FileName(bytes: place.bytes).withCString { lstat($0, &status) } != 0 && errno == ENOENT
    }

    private func refuseIfReplacement(_ file: OwnedDescriptor, at place: ByteString) {
        guard file.type == .regular, noteReplacement(by: file, at: place) else { return }
        files.forget(OpenFile.Identity(device: file.device, inode: file.inode))
    }

    /// Takes note that a file, or a directory and all that is in it, has got another name, before the client is told: by its
    /// path the next start finds what stands in an image's place, and it may stand in one's place itself now (invariant 1).
    ///
    /// - Parameter moved: opened by a name, so that the kernel knows its path.
    func noteMove(of moved: OwnedDescriptor) {
        guard tier.isInUse else { return }
        guard let path = moved.currentPath else { return }
        guard moved.type != .directory else {
            noteMoves(of: files.openFiles)
            return refuseReplacements(in: ByteString(escaped: path))
        }
        if let file = files.file(device: moved.device, inode: moved.inode) { noteMoves(of: [file], to: path) }
        refuseIfReplacement(moved, at: ByteString(escaped: path).endForMessages)
    }

    /// Takes note that a file has got one more name, by which it is open here.
    func noteLink(_ entry: OwnedDescriptor) {
        guard tier.isInUse, let path = entry.currentPath else { return }
        refuseIfReplacement(entry, at: ByteString(escaped: path).endForMessages)
    }

    /// The same of open files that may have got other paths.
    func noteMoves(of open: [OpenFile], to path: String? = nil) {
        var renamed: [FileRedirects] = []
        for file in open {
            // The name that it was opened by, as long as it has that one: others come and go.
            let own = file.descriptor.currentPath.flatMap { $0.hasSuffix(" (deleted)") ? nil : $0 }
            guard let redirects = file.redirects, let path = own ?? path ?? file.descriptor.currentPath,
                path != redirects.path
            else { continue }
            redirects.noteRename(to: path)
            renamed.append(redirects)
            refuseIfReplacement(file.descriptor, at: ByteString(escaped: path).endForMessages)
        }
        tier.noteRenames(renamed)
    }

    /// Has files looked into that were refused when they were opened.
    func lookIntoReleased() {
        for file in files.openFiles where file.member == nil && file.redirects != nil { file.requestIdentification() }
    }
}

extension RedirectTier {
    /// The images at whose path the file of `image` was found, that cannot be opened and may have blocks in the log, now.
    func replaced(by image: ImageIdentity) -> [ImageIdentity] {
        guard let replaced = replacements.withLock({ $0.files[image] }) else { return [] }
        return replaced.filter { mayHaveBlocks(of: $0) && contents($0) == nil }
    }

    /// Keeps the paths of images that need the log: by them a start knows what else stands in their places. All at once, for
    /// a client may rename a directory of thousands.
    func noteRenames(_ renamed: [FileRedirects]) {
        var paths: [ImageIdentity: ByteString] = [:]
        for file in renamed {
            guard let path = Self.kept(file.path), let entry = register.entry(file.image), entry.path != path,
                !entry.isBeingRemoved
            else { continue }
            paths[file.image] = path
        }
        guard !paths.isEmpty else { return }
        do throws(DatastoreError) {
            // That of a name that is about to go is for the removal.
            try register.changeImages { images in
                for (image, path) in paths where images[image]?.isBeingRemoved == false { images[image]?.path = path }
            }
        } catch {
            logger.warning("\(error.message)")
        }
    }

    /// What a register keeps of a path; nil for none, and for what the kernel says of a name that was removed while the file
    /// has another.
    private static func kept(_ path: String) -> ByteString? {
        let kept = ByteString(escaped: path).endForMessages
        let isPath = kept.bytes.first == 0x2f || kept.shortenedEnd != nil
        return isPath && !kept.bytes.suffix(10).elementsEqual(" (deleted)".utf8) ? kept : nil
    }

    /// Whether a file was found in the place of an image that could not be opened at the start.
    func isReplaced(_ image: ImageIdentity) -> Bool {
        replacements.withLock { $0.files.values.contains { $0.contains(image) } }
    }

    /// Whether the log has the newest blocks of an image; of one that is not at hand nobody knows more than the register.
    func mayHaveBlocks(of image: ImageIdentity) -> Bool {
        guard register.contains(image) else { return false }
        return attachment?.log.hasRedirect(Self.everything, of: image) ?? true
    }
}
