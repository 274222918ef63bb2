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
    /// One in so many more is opened before anybody looks again when none could be closed.
    private static let patienceShare = 64
    /// Images whose files have to be closed are scanned again when they are used again.
    private static let mostEndedSessions = 16

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
    ///
    /// That goes through all files, and is not done for each that is opened: some are closed at once, and when none can be,
    /// as many more are opened first.
    func makeRoom() {
        let most = mostFiles.load(ordering: .relaxed)
        let count = table.withLock { $0.count }
        guard count >= most else { return }
        if !hasNotedLimit.exchange(true, ordering: .relaxed) {
            logger.warning(
                """
                \(most) files are open, as many as the limit of descriptors allows: those used least recently are closed; \
                raise the limit (LimitNOFILE= of systemd, ulimit -n) if clients use more at a time
                """)
        }
        let full = countWithoutRoom.load(ordering: .relaxed)
        guard count < full || count >= full + most / Self.patienceShare else { return }
        if !closeUnused(most) {
            endLeastUsedSessions(max(1, min(most / Self.closedShare, Self.mostEndedSessions)))
            _ = closeUnused(most)
        }
        let left = table.withLock { $0.count }
        countWithoutRoom.store(left < most ? 0 : left, ordering: .relaxed)
    }

    /// Returns whether there is room then.
    private func closeUnused(_ most: Int) -> Bool {
        let candidates = leastUsedFiles(before: .now)
        let share = max(1, most / Self.closedShare)
        close(
            table.withLock { table in
                table.removeUnused(candidates, most: table.count - most + share)
            })
        return table.withLock { $0.count } < most
    }

    /// Files that may be closed, but for those that are used now, of those that nobody has used since `limit`: what was used
    /// least recently comes first. Put in order without the table's lock.
    func leastUsedFiles(before limit: ContinuousClock.Instant) -> [OpenFile.Identity] {
        let kept = filesWithRedirects()
        return table.withLock { $0.lastUses }.filter { $0.lastUse < limit && !kept.contains($0.identity) }
            .sorted { $0.lastUse < $1.lastUse }.map(\.identity)
    }

    private func endLeastUsedSessions(_ count: Int) {
        let kept = filesWithRedirects()
        let lastUses = lastUses()
        let candidates = sessions.filter { $0.files.allSatisfy { !kept.contains($0.identity) } }
            .map { session in (session, session.files.compactMap { lastUses[$0.identity] }.max() ?? .now) }
            .sorted { $0.1 < $1.1 }
        for (session, _) in candidates.prefix(count) { end(session) }
    }

    /// When each file was used last.
    func lastUses() -> [OpenFile.Identity: ContinuousClock.Instant] {
        Dictionary(table.withLock { $0.lastUses }.map { ($0.identity, $0.lastUse) }) { first, _ in first }
    }

    /// Files with redirected blocks stay open: nobody else would know how they looked when those were written.
    func filesWithRedirects() -> Set<OpenFile.Identity> {
        Set(table.withLock { $0.files }.filter { $0.file.redirects?.hasAny == true }.map(\.file.identity))
    }

    /// Makes durable what files have that the table has just forgotten, and lets them go.
    func close(_ files: [OpenFile]) {
        settleLateTimes(of: files)
        for file in files where file.isDirty { _ = flush(file) }
    }

    /// Makes the times of `files` durable, and forgets that they may be late.
    private func settleLateTimes(of files: [OpenFile]) {
        guard let register = files.lazy.compactMap({ $0.lateTimes?.register }).first else { return }
        let byIdentity = Dictionary(
            files.compactMap { file in file.lateTimes.map { ($0.file, file) } }, uniquingKeysWith: { first, _ in first }
        )
        do throws(DatastoreError) {
            try register.remove(byIdentity.keys) { identity in byIdentity[identity].map(flush) ?? false }
        } catch {
            logger.warning("\(error.message)")
        }
    }
}
