import BlockStorage
import CLinux
import Glibc
import Tiering

/// How the last name of an image's file goes: it is on record that it is about to, the name is removed, the directory is made
/// durable, and only then what the redirect log has of the image is forgotten. So a power failure at any moment leaves the
/// file with its blocks, or neither (invariants 1 and 11).
extension Datastore {
    /// What became of a name that was to be removed.
    enum NameRemoval {
        /// Another image has the name than the one whose removal was announced: nothing was done.
        case superseded
        /// It is gone, and this file with it, if it was the last name of one.
        case done(OwnedDescriptor?)
    }

    /// The name may have gone to another image since its removal was announced, so often.
    private static let mostAnnouncements = 16

    /// Removes a name by which an image could go. Called without locks.
    ///
    /// - Parameters:
    ///   - failure: how an error is reported.
    ///   - remove: removes the name, if ``mayRemove(_:after:)`` says so of the file that has it.
    ///   - makeDurable: makes the directory durable.
    func removing<Failure: Error>(
        _ name: FileName, of directory: FileHandle, failure: (DatastoreError) -> Failure,
        _ remove: (_ announced: ImageIdentity?) throws(Failure) -> NameRemoval,
        makeDurable: () throws(Failure) -> Void
    ) throws(Failure) {
        for _ in 0..<Self.mostAnnouncements {
            let announced: ImageIdentity?
            do throws(DatastoreError) {
                announced = try announceRemoval(of: name, in: directory)
            } catch {
                throw failure(error)
            }
            let outcome: NameRemoval
            do throws(Failure) {
                outcome = try remove(announced)
            } catch {
                withdrawRemoval(announced)
                throw error
            }
            guard case .done(let removed) = outcome else {
                withdrawRemoval(announced)
                continue
            }
            // When this fails the announcement stays: by it the next start knows whether the file is gone.
            try makeDurable()
            guard let removed else { return withdrawRemoval(announced) }
            return files.forgetRemoved(removed, isDurable: true)
        }
        throw failure(DatastoreError(.retryLater, "\(name): goes from one image to the next"))
    }

    /// Notes, durably, that a name is about to be removed, if by that an image could go that needs the log.
    private func announceRemoval(
        of name: FileName, in directory: FileHandle
    ) throws(DatastoreError) -> ImageIdentity? {
        guard tier.isInUse, (try? name.validate(dots: .invalidArgument)) != nil,
            let directory = try? openDirectory(directory), let file = try? existingEntry(name, of: directory),
            let image = imageThatNeedsLog(file)
        else { return nil }
        // By that name the next start knows whether it was removed: the file may have had another when it was registered.
        let path = OwnedDescriptor.path(of: directory.rawValue).map { $0 + [0x2f] + name.bytes }
        try tier.beginRemoval(of: image, from: ByteString(path ?? []))
        return image
    }

    /// Whether `file` may be removed after `announced` was: it is the image that was announced, or needs no record.
    func mayRemove(_ file: OwnedDescriptor?, after announced: ImageIdentity?) -> Bool {
        guard let image = file.flatMap(imageThatNeedsLog) else { return true }
        return image == announced
    }

    /// One with another name stays. Were that name's removal announced, a start that finds the disk failing took it for gone.
    private func imageThatNeedsLog(_ file: OwnedDescriptor) -> ImageIdentity? {
        guard tier.isInUse, file.type == .regular, let image = images.identity(of: file), tier.register.contains(image),
            (try? file.attributes()).map({ $0.linkCount <= 1 }) ?? true
        else { return nil }
        return image
    }

    private func withdrawRemoval(_ announced: ImageIdentity?) {
        if let announced { tier.endRemoval(of: announced) }
    }

    /// Forgets the images that the server was removing when it ended, and that are gone.
    ///
    /// Only the record says that they went on purpose; an error when such a file is opened says nothing else than that it is
    /// not there, which of any other file would be no reason to forget it.
    func settleRemovals() {
        for (image, entry) in tier.register.images where entry.isBeingRemoved && !tier.isBeingRemoved(image) {
            guard let handle = FileHandle(image.bytes) else { continue }
            do throws(DatastoreError) {
                _ = try open(handle, flags: linux_o_path)
                tier.endRemoval(of: image)
            } catch {
                guard error.code == .stale, isMounted(handle, entry), isNameGone(entry, image) else { continue }
                logger.notice("\(entry.path): was removed, its blocks in the redirect log are forgotten")
                do {
                    try tier.forget(image)
                } catch {
                    logger.error("\(error)")
                }
            }
        }
    }

    /// Whether the name is gone, or another file's, that was to be removed: a disk that cannot read the file says that it is
    /// stale, too.
    private func isNameGone(_ entry: RedirectRegister.Entry, _ image: ImageIdentity) -> Bool {
        guard let handle = FileHandle(image.bytes), let root = HandleCodec.exportID(of: handle).flatMap({ roots[$0] }),
            !entry.path.bytes.isEmpty
        else { return false }
        let rawValue = FileName(bytes: entry.path.bytes).withCString {
            Glibc.open($0, linux_o_path | O_NOFOLLOW | O_CLOEXEC)
        }
        guard rawValue >= 0 else { return errno == ENOENT || errno == ENOTDIR }
        guard let found = try? OwnedDescriptor(taking: rawValue, in: root) else { return false }
        return images.identity(of: found).map { $0 != image } ?? false
    }

    /// Whether the file system that an image was in is there.
    func isMounted(_ handle: FileHandle, _ entry: RedirectRegister.Entry) -> Bool {
        guard let root = HandleCodec.exportID(of: handle).flatMap({ roots[$0] }) else { return false }
        return !entry.mark.isEmpty && entry.mark == root.fileSystemMark
    }
}
