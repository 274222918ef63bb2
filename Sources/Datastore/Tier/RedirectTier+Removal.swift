import BlockStorage
import Tiering

/// Only what the server itself has removed is forgotten: a file that cannot be opened may be there again when its disk is
/// well (invariant 11).
extension RedirectTier {
    /// A name of the file of an image is about to be removed: that is on record from now on until ``endRemoval(of:)`` or
    /// ``forget(_:)``, if the image needs the log.
    ///
    /// - Parameter path: that of the name; empty when it cannot be told.
    func beginRemoval(of image: ImageIdentity, from path: ByteString) throws(DatastoreError) {
        removals.withLock { $0[image, default: 0] += 1 }
        do throws(DatastoreError) {
            try register.changeImages { images in
                images[image]?.isBeingRemoved = true
                images[image]?.path = path
            }
        } catch {
            endRemoval(of: image)
            throw error
        }
    }

    /// The name was removed, and the file has another, or it was not removed.
    func endRemoval(of image: ImageIdentity) {
        removals.withLock { removals in
            let count = removals[image, default: 1] - 1
            removals[image] = count > 0 ? count : nil
        }
        do throws(DatastoreError) {
            // Another thread may have begun meanwhile: the changes of a register come one after the other.
            try register.changeImages { images in
                guard var entry = images[image] else { return }
                entry.isBeingRemoved = isBeingRemoved(image)
                // All of the path is for the removal: registers are to stay small.
                if !entry.isBeingRemoved { entry.path = entry.path.endForMessages }
                images[image] = entry
            }
        } catch {
            // The next start finds the file, and that it was not removed.
            logger.warning("\(error.message)")
        }
    }

    /// Whether the server is about to remove a name of the file of an image.
    func isBeingRemoved(_ image: ImageIdentity) -> Bool { removals.withLock { $0[image] != nil } }

    /// Forgets, durably, all that the log has of an image whose file is gone, durably.
    func forget(_ image: ImageIdentity) throws(StorageError) {
        let place = register.entry(image)?.path.endForMessages
        try attachment?.destager.discard(image)
        do throws(DatastoreError) {
            try register.remove([image])
        } catch {
            throw registerFailure(error)
        }
        _ = removals.withLock { $0.removeValue(forKey: image) }
        replacements.withLock { $0.forget(image, at: place) }
        state.withLock { state in
            state.refused[image] = nil
            state.unreachable[image] = nil
        }
    }

    /// As ``forget(_:)``, while no log is being attached: it would be found to be needed. Throws when the file can be opened:
    /// it may be in use by now, and have blocks in the log that clients wrote meanwhile.
    func forgetOrphan(_ image: ImageIdentity) throws(DatastoreError) {
        try exclusively { () throws(DatastoreError) in
            guard contents(image) == nil else {
                throw DatastoreError(
                    .invalidArgument,
                    "\(register.entries[image]?.description ?? image.hexadecimal): can be opened, with its blocks in the log"
                )
            }
            do throws(StorageError) {
                try forget(image)
            } catch {
                throw DatastoreError(error)
            }
        }
    }

    /// Notes why the blocks of an image cannot be moved to it, or, with nil, that they can.
    func setUnreachable(_ reason: String?, _ image: ImageIdentity) {
        state.withLock { $0.unreachable[image] = reason }
    }
}
