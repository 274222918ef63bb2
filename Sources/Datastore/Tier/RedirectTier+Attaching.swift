import BlockStorage
import Glibc
import Synchronization
import Tiering

extension RedirectTier {
    /// Writes over what is in a closed log may come again and again; it is empty after so many passes at the latest.
    private static let mostClosingPasses = 1000

    /// Opens the log, or makes one, and serves again the images that need it; returns those.
    ///
    /// - Parameters:
    ///   - byAdministrator: whether it throws when there is none to open.
    ///   - adopting: whether the log that is there counts, though it is not as it was.
    func attach(byAdministrator: Bool = false, adopting: Bool = false) throws(DatastoreError) -> [ImageIdentity] {
        try exclusively { () throws(DatastoreError) in
            if let log = attachment?.log {
                guard log.isAbandoned else {
                    if let failure = log.failure {
                        throw DatastoreError(
                            .invalidArgument,
                            "the redirect log has failed (\(failure)) and has blocks that are not in the images: detach it "
                                + "first; tier detach --give-up loses what it cannot give")
                    }
                    throw DatastoreError(.invalidArgument, "the redirect log is attached: detach it first")
                }
                state.withLock { $0 = State(isDetached: true) }
            }
            guard let log = try logOpening(adopting: adopting).open() else {
                if byAdministrator { throw noLog }
                return []
            }
            let images = log.images
            let attachment = Attachment(
                log: log, destager: Destager(log: log, openImage: openImage, yield: yield),
                number: attachmentCount.add(1, ordering: .relaxed).newValue)
            try dropOvertakenBlocks(attachment)
            compareStopped(with: attachment)
            // Whose blocks count is settled now: by files that are open from before nobody gets at the log before he has
            // asked for that (``FileRedirects/attachment()``).
            state.withLock { $0 = State(attachment: attachment) }
            isFailureLogged.store(false, ordering: .relaxed)
            return images
        }
    }

    private func logOpening(adopting: Bool = false) -> LogOpening {
        LogOpening(configuration, register, logger, isOurs: isOurs, adopts: adopting)
    }

    /// Forgets, durably, what the log has of images that the register does not name: they have everything themselves, and
    /// may have been written to since without the log.
    ///
    /// Recovery must never lay an older record over newer data (invariant 3): nobody gets at the log before this is done.
    private func dropOvertakenBlocks(_ attachment: Attachment) throws(DatastoreError) {
        if register.mayLackImages {
            let count = try register.complete(with: attachment.log.images)
            guard count > 0 else { return }
            return logger.error(
                """
                \(register.path): \(count) images that it did not name are refused, they have blocks in the redirect log, and \
                may have been written to without it; introspectctl tier resolve says whose blocks count: see tier list
                """)
        }
        for image in attachment.log.images where !register.contains(image) {
            do throws(StorageError) {
                try attachment.destager.discard(image)
            } catch {
                guard attachment.log.failure != nil else { throw DatastoreError(error) }
                // It takes no writes any more: what it is not read for here is dropped again when it is opened next.
                attachment.log.forget(image)
            }
        }
    }

    /// There is no log that could be attached or detached.
    private var noLog: DatastoreError {
        if configuration == nil {
            return DatastoreError(.invalidArgument, "no redirect log is in use: introspectd was started without --ssd")
        }
        if state.withLock({ $0.isDetached }) {
            return DatastoreError(.invalidArgument, "the redirect log is detached already")
        }
        return DatastoreError(
            .invalidArgument, "no redirect log is in use: none was left at the start, and no mode but off is asked for")
    }

    func refuse(_ images: [ImageIdentity: ByteString], cause: String) {
        let areAllRefused = register.mayLackImages
        let lacking = "which images need the redirect log may not be on record in \(register.path)"
        state.withLock {
            $0.refused = images
            $0.areAllRefused = areAllRefused
            $0.cause = areAllRefused ? "\(cause); \(lacking): all files are refused" : cause
        }
        let advice =
            configuration == nil
            ? "start introspectd with the --ssd options that it had"
            : "have the device back and run introspectctl tier attach"
        if areAllRefused {
            logger.error(
                """
                all files are refused: \(lacking), and \(cause); \(advice), or run introspectctl tier detach --give-up, \
                by which images that nobody can name may lose blocks
                """)
        }
        for path in images.values.map(\.description).sorted() {
            logger.error(
                """
                \(path): refused, its newest blocks are in the redirect log, and \(cause); \(advice), or run \
                introspectctl tier detach --give-up to serve the image as it was before them
                """)
        }
    }

    /// Moves everything to the images and takes the log out of use.
    ///
    /// - Parameter givingUp: whether blocks that cannot be read, or are not at hand, are lost; else it throws, and the
    ///   log stays in use, when there are such.
    /// - Returns: whether blocks were given up.
    func detach(givingUp: Bool) throws(DatastoreError) -> Bool {
        try exclusively { () throws(DatastoreError) in
            guard let attachment else {
                let (refused, areAllRefused) = state.withLock { ($0.refused, $0.areAllRefused) }
                guard !refused.isEmpty || areAllRefused else { throw noLog }
                guard givingUp else {
                    let others = areAllRefused ? ", and perhaps others that are not on record" : ""
                    throw DatastoreError(
                        .serverFault,
                        "the redirect log is not at hand, and \(refused.count) images need it\(others): see tier list")
                }
                // What the register calls void is never read again: from here on it is on record what was said.
                try register.retire(with: logOpening().unknownLogs())
                if areAllRefused {
                    logger.error(
                        """
                        the redirect log was given up: images that were not on record may have lost blocks that were in it, and \
                        are served as they were before them
                        """)
                }
                for path in refused.values.map(\.description).sorted() {
                    logger.error("\(path): its newest blocks were given up, it is served as it was before them")
                }
                let loss =
                    areAllRefused ? "images that were not on record may have lost blocks that were in the log" : nil
                state.withLock { $0 = State(cause: loss, isDetached: true) }
                return true
            }
            if givingUp { try checkNoneWaits(attachment.log) }
            var lost = 0
            do throws(StorageError) {
                if attachment.log.failure == nil { try empty(attachment, givingUp: givingUp) }
                if attachment.log.failure != nil { lost = try evacuate(attachment, givingUp: givingUp) }
            } catch {
                throw DatastoreError(
                    .serverFault,
                    "\(error): redirected blocks stay in the log, which stays in use; --give-up loses what it cannot give"
                )
            }
            try register.retire()
            state.withLock { $0 = State(isDetached: true) }
            if lost > 0 { logger.error("\(lost) bytes that were only in the redirect log were given up") }
            logger.notice("the redirect log is detached")
            return lost > 0
        }
    }

    /// Throws when images whose blocks a healthy log can give wait for an administrator's word.
    private func checkNoneWaits(_ log: RedirectLog) throws(DatastoreError) {
        guard log.failure == nil else { return }
        let counts = log.liveByteCounts
        for (image, entry) in register.images where entry.isQuarantined && counts[image, default: 0] > 0 {
            throw DatastoreError(
                .invalidArgument,
                "\(entry.path): another program has changed it, and the log has \(counts[image, default: 0]) bytes of it: "
                    + "introspectctl tier resolve says whose blocks count")
        }
    }

    private func empty(_ attachment: Attachment, givingUp: Bool) throws(StorageError) {
        attachment.log.close()
        do throws(StorageError) {
            for _ in 0..<Self.mostClosingPasses where !attachment.log.isEmpty {
                try attachment.destager.pass(sparing: 0, isCancelled: isAdministrationOver)
                if isAdministrationOver() { break }
            }
            guard attachment.log.isEmpty else {
                throw StorageError(.system(EBUSY), operation: "empty", device: "redirect log")
            }
        } catch {
            guard givingUp, !isAdministrationOver() else {
                attachment.log.reopen()
                throw error
            }
            attachment.log.fail(error)
        }
    }

    /// Moves what a failed log has to the images, so that they can be served without it; the log stays failed.
    func evacuate() throws(StorageError) {
        let result: Result<Void, StorageError> = administration.withLock { _ in
            guard let attachment, attachment.log.failure != nil, !attachment.log.isAbandoned else {
                return .success(())
            }
            do throws(StorageError) {
                _ = try evacuate(attachment, givingUp: false)
                logger.notice("all blocks of the failed redirect log are in the images, which are served without it")
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func evacuate(_ attachment: Attachment, givingUp: Bool) throws(StorageError) -> Int {
        func record(_ body: () throws(DatastoreError) -> Void) throws(StorageError) {
            do throws(DatastoreError) {
                try body()
            } catch {
                throw registerFailure(error)
            }
        }
        return try attachment.destager.evacuate(
            givingUp: givingUp, isNeeded: register.contains,
            onLoss: { (image, bytes) in
                logger.error("\(register.entries[image]?.description ?? ""): \(bytes) bytes of it were given up")
            },
            recordImages: { (images) throws(StorageError) in
                try record { () throws(DatastoreError) in try register.remove(images) }
            },
            record: { () throws(StorageError) in
                try record { () throws(DatastoreError) in try register.retire() }
            })
    }

    /// See ``administrationEnds``.
    func isAdministrationOver() -> Bool { administrationEnds.load(ordering: .relaxed) }

    func exclusively<Value: Sendable>(
        _ body: () throws(DatastoreError) -> Value
    ) throws(DatastoreError) -> Value {
        let result: Result<Value, DatastoreError> = administration.withLock { _ in
            do throws(DatastoreError) {
                return .success(try body())
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
