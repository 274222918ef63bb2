import BlockStorage
import Glibc
import Synchronization

/// The descriptors of open files: when as many are open as the process can afford, those used least recently make room.
extension OpenFiles {
    /// For reading through the kernel's cache, past it, and for writing.
    private static let descriptorsPerFile = 3
    /// One in so many descriptors is for connections, directories and everything else.
    private static let othersShare = 4
    private static let fewestFiles = 16
    private static let manyFiles = 1 << 16
    /// One in so many files is closed at once: looking for them takes a while.
    private static let closedShare = 16

    /// How many files the limit of this process's descriptors leaves room for.
    static func affordableFiles() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return fewestFiles }
        let all = Int(clamping: limit.rlim_cur)
        return min(max((all - all / othersShare) / descriptorsPerFile, fewestFiles), manyFiles)
    }

    /// Whether images may be opened that no client has asked for.
    var hasRoomForImages: Bool { table.withLock { $0.count } < mostFiles.load(ordering: .relaxed) / 2 }

    /// Closes files if as many are open as may be, and ends images if that is not enough.
    func makeRoom() {
        let most = mostFiles.load(ordering: .relaxed)
        guard table.withLock({ $0.count }) >= most else { return }
        if !hasNotedLimit.exchange(true, ordering: .relaxed) {
            logger.warning(
                """
                \(most) files are open, as many as the limit of descriptors allows: those used least recently are closed; \
                raise the limit (LimitNOFILE= of systemd, ulimit -n) if clients use more at a time
                """)
        }
        if closeUnused(most) { return }
        guard let session = leastUsedSession() else { return }
        end(session)
        _ = closeUnused(most)
    }

    /// Returns whether there is room then.
    private func closeUnused(_ most: Int) -> Bool {
        let kept = filesWithRedirects()
        let share = max(1, most / Self.closedShare)
        close(
            table.withLock { table in
                table.removeUnused(most: table.count - most + share, before: .now, keeping: kept)
            })
        return table.withLock { $0.count } < most
    }

    private func leastUsedSession() -> ImageSession? {
        let kept = filesWithRedirects()
        let lastUses = lastUses()
        return sessions.filter { $0.files.allSatisfy { !kept.contains($0.identity) } }
            .map { session in (session, session.files.compactMap { lastUses[$0.identity] }.max() ?? .now) }
            .min { $0.1 < $1.1 }?.0
    }

    /// When each file was used last.
    func lastUses() -> [OpenFile.Identity: ContinuousClock.Instant] {
        Dictionary(table.withLock { $0.files }.map { ($0.file.identity, $0.lastUse) }) { first, _ in first }
    }

    /// Files with redirected blocks stay open: nobody else would know how they looked when those were written.
    func filesWithRedirects() -> Set<OpenFile.Identity> {
        Set(table.withLock { $0.files }.filter { $0.file.redirects?.hasAny == true }.map(\.file.identity))
    }

    /// Makes durable what files have that the table has just forgotten, and lets them go.
    ///
    /// A write may have gone to the log since it was asked which have redirects: nothing of a file stays there that nobody
    /// looks after.
    func close(_ files: [OpenFile]) {
        for file in files {
            if file.redirects?.hasAny == true {
                do throws(StorageError) {
                    try file.redirects?.drain(RedirectTier.everything)
                } catch {
                    logger.error("\(error): redirected blocks stay in the log")
                }
            }
            if file.isDirty { _ = flush(file) }
        }
    }
}
