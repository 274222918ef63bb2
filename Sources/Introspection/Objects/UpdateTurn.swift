import BlockStorage

/// The turn of whoever brings object indexes up to date: one at a time does, and others wait, without a lock that anybody
/// else would want.
final class UpdateTurn: @unchecked Sendable {
    private let monitor = Monitor()
    private var isTaken = false

    /// Runs `body`, which may wait for the disk, alone.
    func whileAlone<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        monitor.withLock {
            monitor.wait { isTaken }
            isTaken = true
        }
        defer {
            monitor.withLock {
                isTaken = false
                monitor.signal()
            }
        }
        return try body()
    }
}
