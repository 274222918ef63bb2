import BlockStorage

/// The writes and cache fills that are under way on one file: what keeps the cache equal to the file.
///
/// - Writes that touch the same page run one after the other, in the order in which they came, so that the order in which
///   they reach the file is the order in which they reach the cache and the introspection. One that waits for a long range
///   has those that touch it and come later wait behind it: else it would wait for as long as others write.
/// - Before the first of a group of writes that overlap in time, and after the last, the file is looked at while no write
///   is under way and none begins: what it looks like then is nobody's doing but that of other programs, or of ours.
/// - A fill (reading from the file to put the bytes into the cache) never waits for a write and never makes one wait.
///   If a write touched its range at any moment between the start of the read and the insertion, what was read may be
///   older than what the cache must show, and is not inserted.
/// - A fill waits for another of the same range, and then finds it in the cache.
/// - The destager waits for the writes of what it moves to the file, and those that come after wait for it. A write that
///   waits for the destager lends it its range meanwhile: else both would wait for ever.
///
/// Together with ``OpenFile``, which updates the cache after the write is noted here and before it is acknowledged,
/// this is invariant 2 for what RAM holds: a read gives the last acknowledged write.
///
/// The table's lock is held for bookkeeping alone: nothing that waits or takes another file's lock is called under it. A
/// thread that has a ticket waits for no other, and for the destager only while it lends its range.
final class RangeTable: @unchecked Sendable {
    struct WriteTicket {
        fileprivate let id: UInt64
        fileprivate let wasAlone: Bool
        fileprivate let startedWrites: UInt64
    }

    struct FillTicket {
        fileprivate let id: UInt64
    }

    private struct Write {
        let id: UInt64
        let range: ByteRange
        /// Whether the destager may write to the range meanwhile.
        var isLent = false
    }

    /// What the destager moves to the file.
    private struct Destaging {
        let id: UInt64
        let range: ByteRange
        /// Whether the writes of the range have ended that it waited for.
        var isUnderWay = false
    }

    private struct Fill {
        let id: UInt64
        let range: ByteRange
        var isStale: Bool
    }

    /// A write that cannot begin yet.
    private struct Waiter {
        let id: UInt64
        let range: ByteRange
    }

    private let monitor = Monitor(.ranges)
    private var writes: [Write] = []
    /// In the order in which they came. They hold nothing: no write that is under way waits for one of them.
    private var waiters: [Waiter] = []
    private var fills: [Fill] = []
    private var destagings: [Destaging] = []
    private var nextID: UInt64 = 0
    private var startedWrites: UInt64 = 0
    /// Whether somebody looks at the file while no write is under way: none begins until that is done.
    private var isLookedAt = false

    // MARK: Writes

    /// Notes a write of `range` (whole pages), once no other write of these pages is under way.
    ///
    /// - Parameter look: looks at the file if no other write is under way; until it returns none begins.
    func beginWrite(_ range: ByteRange, look: () -> Void = {}) -> WriteTicket {
        let (ticket, isFirst) = monitor.withLock {
            waitForTurn(range)
            markStale { $0.overlaps(range) }
            nextID += 1
            startedWrites += 1
            isLookedAt = writes.isEmpty
            let ticket = WriteTicket(id: nextID, wasAlone: writes.isEmpty, startedWrites: startedWrites)
            writes.append(Write(id: nextID, range: range))
            return (ticket, isLookedAt)
        }
        guard isFirst else { return ticket }
        look()
        endLook()
        return ticket
    }

    /// How many writes wait to begin.
    var waitingCount: Int { monitor.withLock { waiters.count } }

    private func waitForTurn(_ range: ByteRange) {
        guard isTaken(range, before: .max) else { return }
        nextID += 1
        let place = nextID
        waiters.append(Waiter(id: place, range: range))
        monitor.wait { isTaken(range, before: place) }
        waiters.removeAll { $0.id == place }
    }

    /// Whether a write of `range` has to wait that came at `place`.
    private func isTaken(_ range: ByteRange, before place: UInt64) -> Bool {
        isLookedAt || writes.contains { $0.range.overlaps(range) }
            || destagings.contains { $0.range.overlaps(range) }
            || waiters.contains { $0.id < place && $0.range.overlaps(range) }
    }

    /// Ends a write, and runs `body`: if no other write is under way, before one may begin.
    ///
    /// - Parameter body: is given whether no other write is under way, and whether none was at any time during this one.
    func endWrite<Result>(
        _ ticket: WriteTicket, _ body: (_ isLast: Bool, _ wasAlone: Bool) -> Result
    ) -> Result {
        let (isLast, wasAlone) = monitor.withLock {
            let isLast = writes.count == 1
            isLookedAt = isLast
            if !isLast { remove(ticket) }
            return (isLast, ticket.wasAlone && ticket.startedWrites == startedWrites)
        }
        let result = body(isLast, wasAlone)
        if isLast { endLook(removing: ticket) }
        return result
    }

    /// Runs `look` while no write is under way and none begins.
    ///
    /// - Parameter waits: whether to wait for another that looks at the file.
    /// - Returns: false when a write was under way, and `look` was not run.
    func whileIdle(waits: Bool, _ look: () -> Void) -> Bool {
        let isIdle = monitor.withLock {
            if waits { monitor.wait { isLookedAt } }
            guard writes.isEmpty, !isLookedAt else { return false }
            isLookedAt = true
            return true
        }
        guard isIdle else { return false }
        look()
        endLook()
        return true
    }

    /// Waits until the writes have ended that are under way now; others may begin meanwhile.
    func waitForWrites() {
        monitor.withLock {
            let last = nextID
            monitor.wait { writes.contains { $0.id <= last } }
        }
    }

    private func endLook(removing ticket: WriteTicket? = nil) {
        monitor.withLock {
            isLookedAt = false
            if let ticket { remove(ticket) } else { monitor.broadcast() }
        }
    }

    private func remove(_ ticket: WriteTicket) {
        writes.removeAll { $0.id == ticket.id }
        monitor.broadcast()
    }

    // MARK: Destaging

    /// Runs `body`, which may wait for the destager and writes neither to the log nor to the file itself; the destager
    /// may write to the range of `ticket` meanwhile. Nobody else's write gets in between.
    func lending<Result, Failure: Error>(
        _ ticket: WriteTicket, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        setLent(ticket, true)
        // The destager, which may be this thread, has places among the writes of its own.
        let wasHeld = LockRank.suspend(.write)
        defer {
            LockRank.resume(.write, wasHeld)
            setLent(ticket, false)
        }
        return try body()
    }

    private func setLent(_ ticket: WriteTicket, _ isLent: Bool) {
        monitor.withLock {
            guard let range = writes.first(where: { $0.id == ticket.id })?.range else { return }
            if !isLent { monitor.wait { destagings.contains { $0.isUnderWay && $0.range.overlaps(range) } } }
            for index in writes.indices where writes[index].id == ticket.id { writes[index].isLent = isLent }
            monitor.broadcast()
        }
    }

    /// Runs `body`, which moves blocks to `range` of the file, while no write of a part of it is under way but those that
    /// have lent theirs. Writes that come later wait, so that this does not wait for ever.
    func whileDestaging<Failure: Error>(
        _ range: ByteRange, _ body: () throws(Failure) -> Void
    ) throws(Failure) {
        let id = beginDestaging(range)
        defer {
            monitor.withLock {
                destagings.removeAll { $0.id == id }
                monitor.broadcast()
            }
        }
        try body()
    }

    /// Whether the destager has a range, or waits for one.
    var isDestaging: Bool { monitor.withLock { !destagings.isEmpty } }

    private func beginDestaging(_ range: ByteRange) -> UInt64 {
        monitor.withLock {
            nextID += 1
            let id = nextID
            destagings.append(Destaging(id: id, range: range))
            monitor.wait { writes.contains { !$0.isLent && $0.range.overlaps(range) } }
            for index in destagings.indices where destagings[index].id == id { destagings[index].isUnderWay = true }
            return id
        }
    }

    // MARK: Fills

    /// Notes a fill of `range` (whole pages).
    ///
    /// - Returns: nil when another fill of a part of the range was under way; it has ended, and the caller looks into
    ///   the cache again.
    func beginFill(_ range: ByteRange) -> FillTicket? {
        monitor.withLock {
            guard !waitForFill(of: range) else { return nil }
            nextID += 1
            fills.append(Fill(id: nextID, range: range, isStale: writes.contains { $0.range.overlaps(range) }))
            return FillTicket(id: nextID)
        }
    }

    /// Ends a fill; `insert` puts the bytes into the cache and is called only if they are not stale.
    func endFill(_ ticket: FillTicket, insert: () -> Void) {
        monitor.withLock {
            if let fill = fills.first(where: { $0.id == ticket.id }), !fill.isStale {
                insert()
            }
            fills.removeAll { $0.id == ticket.id }
            monitor.broadcast()
        }
    }

    /// What the fills under way have read is not inserted.
    func dropFills() {
        monitor.withLock { markStale { _ in true } }
    }

    /// Runs `body`, in one step with respect to the other calls, unless a write or a fill is under way.
    func ifUnused(_ body: () -> Void) {
        monitor.withLock {
            guard writes.isEmpty, fills.isEmpty else { return }
            body()
        }
    }

    private func markStale(where isMeant: (ByteRange) -> Bool) {
        for index in fills.indices where isMeant(fills[index].range) {
            fills[index].isStale = true
        }
    }

    /// Waits until no fill touches `range`; returns whether there was one.
    private func waitForFill(of range: ByteRange) -> Bool {
        var waited = false
        monitor.wait {
            let isFilled = fills.contains { $0.range.overlaps(range) }
            waited = waited || isFilled
            return isFilled
        }
        return waited
    }
}
