import BlockStorage
import Glibc
import Synchronization
import Tiering

extension RedirectTier {
    /// The destager looks so often whether there is something to do, in microseconds.
    private static let interval = 20_000
    /// After so many looks some more of the log is compared with its checksums, and its sides with one another.
    private static let looksAtTheLog = 50
    /// Without a write for so many looks, everything is moved.
    private static let idleLooks = 100
    /// After a failed pass the next comes after so many looks.
    private static let looksAfterFailure = 250
    /// A log that is fuller is emptied, but for its youngest part.
    private static let highWater = 0.5
    private static let spared = 0.25

    /// Starts moving blocks to their images; they can be opened from now on.
    func start() {
        guard isInUse else { return }
        thread.submit { [self] in
            var lastPosition = -1
            var idleLooks = 0
            var looksToWait = 0
            var lastFailure: StorageError?
            var looks = 0
            while !stopping.load(ordering: .relaxed) {
                usleep(useconds_t(Self.interval))
                guard let attachment else { continue }
                looks += 1
                if looks.isMultiple(of: Self.looksAtTheLog) { lookAfter(attachment.log) }
                let position = attachment.log.position
                idleLooks = position == lastPosition ? idleLooks + 1 : 0
                lastPosition = position
                looksToWait -= 1
                guard looksToWait <= 0 || attachment.destager.isUrgent,
                    isPassDue(attachment, isIdle: idleLooks >= Self.idleLooks)
                else { continue }
                let failure = pass(attachment, sparing: idleLooks >= Self.idleLooks || takesNothing ? 0 : Self.spared)
                // The images that cannot be written to need not keep others' blocks from being moved.
                if failure != nil { looksToWait = isPassUseful(attachment.log) ? 0 : Self.looksAfterFailure }
                if let failure, failure != lastFailure { logger.error("\(failure): redirected blocks stay in the log") }
                lastFailure = failure
            }
        }
    }

    /// Has the log looked through, a little at a time, and notes how far it is.
    private func lookAfter(_ log: RedirectLog) {
        do throws(StorageError) {
            try log.scrub()
        } catch {
            log.fail(error)
        }
        for note in log.takeNotes() { logger.warning("\(note)") }
        do throws(DatastoreError) {
            try register.note(log)
        } catch {
            logger.warning("\(error.message)")
        }
    }

    private func isPassDue(_ attachment: Attachment, isIdle: Bool) -> Bool {
        let log = attachment.log
        if log.failure != nil { return !log.isAbandoned }
        guard log.liveByteCount > 0 else { return false }
        return isIdle || takesNothing || attachment.destager.isUrgent || log.fullness > Self.highWater
            || !imagesToEmpty(log).isEmpty
    }

    /// Whether a pass that some images failed in has made room.
    private func isPassUseful(_ log: RedirectLog) -> Bool { log.failure == nil && log.fullness <= Self.highWater }

    private func imagesToEmpty(_ log: RedirectLog) -> [ImageIdentity] {
        guard emptied.withLock({ !$0.isEmpty }) else { return [] }
        let images = log.images
        return emptied.withLock { emptied in images.filter { emptied[$0] != nil } }.filter { !isRefused($0) }
    }

    private func pass(_ attachment: Attachment, sparing spared: Double) -> StorageError? {
        do throws(StorageError) {
            if let failure = attachment.log.failure {
                if !isFailureLogged.exchange(true, ordering: .relaxed) {
                    logger.error("\(failure): the redirect log has failed and takes no more writes")
                }
                try evacuate()
            } else {
                var failure: StorageError?
                for image in imagesToEmpty(attachment.log) {
                    do throws(StorageError) {
                        try attachment.destager.drain(image, Self.everything)
                    } catch {
                        // One image that cannot be written must not keep the others in the log, nor writers of theirs out.
                        failure = failure ?? error
                    }
                }
                try attachment.destager.pass(sparing: spared) { stopping.load(ordering: .relaxed) }
                if let failure { throw failure }
            }
            return nil
        } catch {
            return error
        }
    }

    /// Ends the thread and moves what the log has to the images, as long as the time allows; the rest stays there.
    func stop() {
        stopping.store(true, ordering: .relaxed)
        thread.shutDown()
        guard let attachment, !attachment.log.isAbandoned else {
            if state.withLock({ !$0.refused.isEmpty || $0.areAllRefused }) {
                logger.warning("the newest blocks of images are, or may be, in a redirect log that is not at hand")
            }
            return
        }
        let deadline = ContinuousClock.now + (configuration?.drainTimeout ?? .zero)
        do throws(StorageError) {
            try attachment.destager.pass(sparing: 0) { ContinuousClock.now > deadline }
        } catch {
            logger.error("\(error): redirected blocks stay in the log")
        }
        let rest = attachment.log.liveByteCount
        if rest > 0, let failure = attachment.log.failure {
            return logger.error("\(rest) bytes are in the redirect log alone, which has failed: \(failure)")
        }
        guard rest == 0, attachment.log.failure == nil else {
            return logger.warning("\(rest) bytes stay safely in the redirect log until the next start")
        }
        do throws(DatastoreError) {
            try register.clear()
        } catch {
            logger.warning("\(error.message)")
        }
    }
}
