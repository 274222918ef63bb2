import BlockStorage
import Dispatch
import Glibc
import Synchronization

/// The threads of introspection, and the courtesy that they owe to clients.
final class BackgroundWork: Sendable {
    /// How long a background read gives way at most, in microseconds: scans must end, too.
    private static let longestYield = 50_000
    private static let yieldStep = 1_000
    /// A guest can keep these threads busy with what it writes, and they take a tenth of what clients' threads get then.
    private static let niceness: Int32 = 10

    /// Each scan reads with threads of its own.
    let scans = ScanQueue(niceness: niceness)
    let mapMemory = MapMemory()
    /// One thread for digests, which must not wait behind a scan.
    let digests = IOPool(name: "digest", threadCount: 1, niceness: niceness)
    private let waitingReads = Atomic(0)
    /// Stable WRITEs and COMMITs.
    private let waitingWrites = Atomic(0)
    private let stopping = Atomic(false)
    private let stop = DispatchSemaphore(value: 0)

    /// Whether the server is stopping.
    var isStopping: Bool { stopping.load(ordering: .relaxed) }

    /// Runs `body`, a client's read of `file` from the disk; reads in the background wait meanwhile.
    func whileReadWaits<Result, Failure: Error>(
        for file: OpenFile? = nil, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        waitingReads.add(1, ordering: .relaxed)
        file?.waitingCalls.add(1, ordering: .relaxed)
        defer {
            file?.waitingCalls.subtract(1, ordering: .relaxed)
            waitingReads.subtract(1, ordering: .relaxed)
        }
        return try body()
    }

    /// Runs `body`, which makes durable what a client wrote to `file`; read-ahead of others waits meanwhile. Scans and
    /// digests do not: a guest that writes without a pause is one that they must keep up with.
    func whileWriteWaits<Result, Failure: Error>(
        for file: OpenFile, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        waitingWrites.add(1, ordering: .relaxed)
        file.waitingCalls.add(1, ordering: .relaxed)
        defer {
            file.waitingCalls.subtract(1, ordering: .relaxed)
            waitingWrites.subtract(1, ordering: .relaxed)
        }
        return try body()
    }

    /// Waits while clients wait for reads, within bounds.
    func yieldToReaders() {
        yield { waitingReads.load(ordering: .relaxed) > 0 }
    }

    /// Waits, within bounds, while clients wait for the disk that do not want `file`: read-ahead of a stream would leave
    /// nothing of the disk to those who want a block here and there.
    func yieldToOthers(than file: OpenFile) {
        yield {
            let all = waitingReads.load(ordering: .relaxed) + waitingWrites.load(ordering: .relaxed)
            return all > file.waitingCalls.load(ordering: .relaxed)
        }
    }

    private func yield(while mustWait: () -> Bool) {
        var waited = 0
        while waited < Self.longestYield, !isStopping, mustWait() {
            usleep(useconds_t(Self.yieldStep))
            waited += Self.yieldStep
        }
    }

    /// Waits for `seconds`, or until the server stops; one thread may.
    func pause(seconds: Double) {
        _ = stop.wait(timeout: .now() + seconds)
    }

    /// Ends the work: what runs is cancelled, what waits is dropped as it comes up.
    func end() {
        stopping.store(true, ordering: .relaxed)
        stop.signal()
        scans.shutDown()
        digests.shutDown()
    }
}
