import BlockStorage
import Tiering

extension RedirectTier {
    /// Somebody else has changed an image: what the log has of it is never laid over that (invariant 2 speaks of what
    /// clients wrote, and the file is not what they wrote to).
    ///
    /// - Returns: whether the image is refused from now on, because its newest blocks are in the log alone; else the log
    ///   has forgotten it.
    func noteForeignChange(of image: ImageIdentity, path: String) -> Bool {
        guard let attachment, attachment.log.hasRedirect(Self.everything, of: image) else { return false }
        guard register.contains(image) else {
            do throws(StorageError) {
                try attachment.destager.discard(image)
            } catch {
                logger.error("\(error)")
                // The image has everything itself, and the log is never asked for it again.
                attachment.log.forget(image)
            }
            return false
        }
        do throws(DatastoreError) {
            try register.setQuarantined(true, image)
        } catch {
            logger.error("\(error.message)")
            state.withLock { $0.refused[image] = ByteString(path) }
        }
        logger.error(
            """
            \(path): refused, it was changed by another program while its newest blocks were in the redirect log; they \
            are kept there, until introspectctl tier resolve says whether the log's or the file's count
            """)
        return true
    }

    /// Compares how images look with how they looked when the server stopped, as far as they can be reached, and refuses those
    /// that somebody else has changed meanwhile.
    ///
    /// What is known of how an image looked is forgotten when the log that has blocks of it is in use, because from then on
    /// the server itself changes it. Until then, and while it cannot be reached, it stays.
    ///
    /// - Parameter attachment: the log that is in use, or is about to be.
    func compareStopped(with attachment: Attachment?) {
        var same: [ImageIdentity] = []
        var changed: [ImageIdentity] = []
        for (image, entry) in register.images {
            guard let then = entry.stopped, let now = contents(image) else { continue }
            if now != then { changed.append(image) } else if attachment != nil { same.append(image) }
        }
        guard !same.isEmpty || !changed.isEmpty else { return }
        do throws(DatastoreError) {
            try register.changeImages { images in
                // Whoever has compared them meanwhile has let clients write to them: how they look is no stranger's doing.
                changed.removeAll { images[$0]?.stopped == nil }
                for image in same + changed { images[image]?.stopped = nil }
                for image in changed { images[image]?.isQuarantined = true }
            }
        } catch {
            // Nobody may read or write them before it is known (``isRefused(_:)``).
            return logger.error("\(error.message)")
        }
        for image in changed {
            logger.error(
                """
                \(register.entries[image]?.description ?? ""): refused, it was changed while the server did not run, or \
                without its log, and its newest blocks were in the redirect log; introspectctl tier resolve says whose \
                blocks count
                """)
        }
    }

    /// Compares the images with the log that is in use.
    func compareStopped() { compareStopped(with: attachment) }

    /// Notes how the images look that still have blocks in the log, when nobody writes to them any more.
    ///
    /// - Parameter contents: what an image looks like now and after a power failure; nil when it cannot be reached.
    func noteStop(_ contents: (ImageIdentity) -> RedirectRegister.Contents?) {
        guard let log = attachment?.log else { return }
        let images = log.images.filter { register.contains($0) && !isRefused($0) }
        let stopped = Dictionary(uniqueKeysWithValues: images.map { ($0, contents($0)) })
        do throws(DatastoreError) {
            try register.changeImages { images in
                for (image, contents) in stopped { images[image]?.stopped = contents }
            }
        } catch {
            logger.warning("\(error.message)")
        }
    }

    /// Whether an image is refused until somebody says whose bytes count. One that was not compared since a start is now, if
    /// it can be.
    func awaitsDecision(_ image: ImageIdentity) -> Bool { isRefused(image) && register.isQuarantined(image) }

    /// Serves an image again that was refused because somebody else had changed it.
    ///
    /// - Parameters:
    ///   - keepingLog: whether what the log has of it counts; else it is lost.
    ///   - lengthen: makes the file as long as the log knows it: while clients are refused, for what the log has past the
    ///     end would be cut off for them (invariant 2).
    /// - Throws: also when it is not refused for that, or no more: another administrator may have had his turn before.
    func resolve(
        _ image: ImageIdentity, keepingLog: Bool, lengthen: () throws(DatastoreError) -> Void
    ) throws(DatastoreError) {
        try exclusively { () throws(DatastoreError) in
            let path = register.entries[image]?.description ?? image.hexadecimal
            guard register.isQuarantined(image) else {
                throw DatastoreError(.invalidArgument, "\(path): is not refused for a change by another program")
            }
            if keepingLog {
                // Until the log is back nobody would see a further change.
                guard attachment != nil else {
                    throw DatastoreError(
                        .invalidArgument,
                        "\(path): the redirect log is not at hand; say so when it is attached again")
                }
                try lengthen()
                try register.setQuarantined(false, image)
                attachment?.destager.forgetFailure(of: image)
                return
            }
            if let attachment {
                // What was being moved when the image was refused must not be laid over it after this.
                attachment.destager.waitForPass()
                do throws(StorageError) {
                    try attachment.destager.discard(image)
                } catch {
                    throw DatastoreError(error)
                }
            }
            if let log = attachment?.log, log.failure == nil {
                // It stays registered: a write that began before the image was refused may still go to the log.
                try register.setQuarantined(false, image)
            } else {
                // A log that has failed, or is not at hand, still has the blocks: when it is opened it finds that the image
                // has everything itself (invariant 11).
                try register.remove([image])
            }
            state.withLock { $0.refused[image] = nil }
        }
    }
}
