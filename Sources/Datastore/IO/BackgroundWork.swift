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

    /// One thread for scans, one image after the other; each scan reads with threads of its own.
    let scans = IOPool(name: "scan", threadCount: 1, niceness: niceness)
    /// One thread for digests, which must not wait behind a scan.
    let digests = IOPool(name: "digest", threadCount: 1, niceness: niceness)
    private let clientCalls = Atomic(0)
    private let stopping = Atomic(false)
    private let stop = DispatchSemaphore(value: 0)

    /// Whether the server is stopping.
    var isStopping: Bool { stopping.load(ordering: .relaxed) }

    /// Runs `body`, a client's access to the disk; reads in the background wait meanwhile.
    func whileClientWaits<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        clientCalls.add(1, ordering: .relaxed)
        defer { clientCalls.subtract(1, ordering: .relaxed) }
        return try body()
    }

    /// As ``whileClientWaits(_:)``, for an access to `file`.
    func whileClientWaits<Result, Failure: Error>(
        for file: OpenFile, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        file.waitingCalls.add(1, ordering: .relaxed)
        defer { file.waitingCalls.subtract(1, ordering: .relaxed) }
        return try whileClientWaits(body)
    }

    /// Waits while clients wait for the disk, within bounds.
    ///
    /// - Parameter file: what is to be read ahead of; those who wait for the same file do not count.
    func yieldToClients(readingAheadOf file: OpenFile? = nil) {
        var waited = 0
        while clientCalls.load(ordering: .relaxed) > (file?.waitingCalls.load(ordering: .relaxed) ?? 0),
            waited < Self.longestYield, !isStopping
        {
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
