import BlockStorage
import CLinux
import Tiering

/// Files that stand where an image was that has blocks in the redirect log, and whose own file cannot be opened: a copy on
/// a new disk, or a backup that was put in its place while the server did not run. They are refused until an administrator
/// says that they count: without the log's blocks they are not what clients were told was stable (invariant 1).
extension Datastore {
    /// Finds them. Called at the start, before clients are served: what has the name later has got it from clients, or while
    /// the image itself was open, which is noticed in other ways.
    func findReplacements() {
        var replaced: [ImageIdentity: Set<ImageIdentity>] = [:]
        for (image, entry) in tier.register.images where !entry.path.bytes.isEmpty {
            guard tier.mayHaveBlocks(of: image), contents(of: image) == nil, !wasBeingRemoved(image, entry) else {
                continue
            }
            for file in filesThatStand(at: entry.path) {
                guard let other = images.identity(of: file), !images.isSameFile(other, image) else { continue }
                replaced[other, default: []].insert(image)
                logger.error(
                    """
                    \(file.currentPath ?? "\(entry.path)"): refused, it is another file than the one whose newest blocks are in \
                    the redirect log, and which cannot be opened: have that one back in its place, or run introspectctl tier \
                    resolve --keep file to serve this one without those blocks
                    """)
            }
        }
        tier.replacements.withLock { $0 = replaced }
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
        let name = end.split(separator: 0x2f).last.map(Array.init) ?? []
        var found: [OwnedDescriptor] = []
        for root in roots.values {
            ExportWalk(root: root).forEachEntry { entry, entryName, directory in
                guard entry.name.elementsEqual(name), let parent = OwnedDescriptor.path(of: directory.rawValue),
                    (parent + [0x2f] + name).suffix(end.count).elementsEqual(end),
                    let file = try? root.openEntry(entryName, of: directory.rawValue, flags: ExportWalk.pathOnly),
                    file.type == .regular
                else { return true }
                found.append(file)
                return true
            }
        }
        return found
    }

    /// Has the files looked into that were refused in the place of `replaced`.
    func lookIntoReplacements(of replaced: [ImageIdentity]) {
        let others = tier.replacements.withLock { $0.filter { !$0.value.isDisjoint(with: replaced) } }
        for file in files.openFiles {
            if let image = file.redirects?.image, others[image] != nil { file.requestIdentification() }
        }
    }
}

extension RedirectTier {
    /// The images at whose path the file of `image` was found at the start, that cannot be opened and may have blocks in the
    /// log, now.
    func replaced(by image: ImageIdentity) -> [ImageIdentity] {
        guard let replaced = replacements.withLock({ $0[image] }) else { return [] }
        return replaced.filter { mayHaveBlocks(of: $0) && contents($0) == nil }
    }

    /// Keeps the path of an image that needs the log: by it a start knows what else stands in its place.
    func noteRename(of image: ImageIdentity, to path: String) {
        let path = ByteString(escaped: path).endForMessages
        guard path.bytes.first == 0x2f || path.shortenedEnd != nil, let entry = register.entry(image),
            entry.path != path, !entry.isBeingRemoved
        else { return }
        do throws(DatastoreError) {
            // That of a name that is about to go is for the removal.
            try register.changeImages { if $0[image]?.isBeingRemoved == false { $0[image]?.path = path } }
        } catch {
            logger.warning("\(error.message)")
        }
    }

    /// Whether a file was found at the start in the place of an image that cannot be opened.
    func isReplaced(_ image: ImageIdentity) -> Bool {
        replacements.withLock { $0.values.contains { $0.contains(image) } }
    }

    /// Whether the log has the newest blocks of an image; of one that is not at hand nobody knows more than the register.
    func mayHaveBlocks(of image: ImageIdentity) -> Bool {
        guard register.contains(image) else { return false }
        return attachment?.log.hasRedirect(Self.everything, of: image) ?? true
    }
}
