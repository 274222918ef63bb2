import BlockStorage

/// The writes and cache fills that are under way on one file: what keeps the cache equal to the file.
///
/// - Writes that touch the same page run one after the other, so that the order in which they reach the file is the
///   order in which they reach the cache and the introspection.
/// - A fill (reading from the file to put the bytes into the cache) never waits for a write and never makes one wait.
///   If a write touched its range at any moment between the start of the read and the insertion, what was read may be
///   older than what the cache must show, and is not inserted.
/// - A fill waits for another of the same range, and then finds it in the cache.
/// - The destager waits for the writes of what it moves to the file, and those that come after wait for it. A write that
///   waits for the destager lends it its range meanwhile: else both would wait for ever.
///
/// Together with ``OpenFile``, which updates the cache after the write is noted here and before it is acknowledged,
/// this is invariant 2 for what RAM holds: a read gives the last acknowledged write.
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

    private let monitor = Monitor()
    private var writes: [Write] = []
    private var fills: [Fill] = []
    private var destagings: [Destaging] = []
    private var nextID: UInt64 = 0
    private var startedWrites: UInt64 = 0

    /// Notes a write of `range` (whole pages), once no other write of these pages is under way.
    func beginWrite(_ range: ByteRange) -> WriteTicket {
        monitor.withLock {
            while writes.contains(where: { $0.range.overlaps(range) })
                || destagings.contains(where: { $0.range.overlaps(range) })
            {
                monitor.wait()
            }
            for index in fills.indices where fills[index].range.overlaps(range) {
                fills[index].isStale = true
            }
            nextID += 1
            startedWrites += 1
            let ticket = WriteTicket(id: nextID, wasAlone: writes.isEmpty, startedWrites: startedWrites)
            writes.append(Write(id: nextID, range: range))
            return ticket
        }
    }

    /// Ends a write, running `body` first, in one step with respect to the other calls.
    ///
    /// - Parameter body: is given whether no other write was under way at any time during this one.
    func endWrite(_ ticket: WriteTicket, _ body: (_ wasAlone: Bool) -> Void = { _ in }) {
        monitor.withLock {
            body(ticket.wasAlone && ticket.startedWrites == startedWrites)
            writes.removeAll { $0.id == ticket.id }
            monitor.broadcast()
        }
    }

    /// Runs `body`, which may wait for the destager and writes neither to the log nor to the file itself; the destager
    /// may write to the range of `ticket` meanwhile. Nobody else's write gets in between.
    func lending<Result, Failure: Error>(
        _ ticket: WriteTicket, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        setLent(ticket, true)
        defer { setLent(ticket, false) }
        return try body()
    }

    private func setLent(_ ticket: WriteTicket, _ isLent: Bool) {
        monitor.withLock {
            guard let range = writes.first(where: { $0.id == ticket.id })?.range else { return }
            while !isLent, destagings.contains(where: { $0.isUnderWay && $0.range.overlaps(range) }) {
                monitor.wait()
            }
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
            while writes.contains(where: { !$0.isLent && $0.range.overlaps(range) }) {
                monitor.wait()
            }
            for index in destagings.indices where destagings[index].id == id { destagings[index].isUnderWay = true }
            return id
        }
    }

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

    /// Runs `body`; what the fills under way have read is not inserted.
    func dropFills(_ body: () -> Void) {
        monitor.withLock {
            for index in fills.indices {
                fills[index].isStale = true
            }
            body()
        }
    }

    /// Runs `body` while no write is under way.
    func whileNoWrite(_ body: () -> Void) {
        monitor.withLock {
            while !writes.isEmpty {
                monitor.wait()
            }
            body()
        }
    }

    /// Runs `body`, which is told whether no write is under way, in one step with respect to the other calls.
    func inspect<Result>(_ body: (_ isIdle: Bool) -> Result) -> Result {
        monitor.withLock { body(writes.isEmpty) }
    }

    /// Waits until no fill touches `range`; returns whether there was one.
    private func waitForFill(of range: ByteRange) -> Bool {
        var waited = false
        while fills.contains(where: { $0.range.overlaps(range) }) {
            waited = true
            monitor.wait()
        }
        return waited
    }
}
