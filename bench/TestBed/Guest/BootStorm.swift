import Synchronization

extension QEMUGuest {
    /// Boots copies of a ``DebianImage`` at the same time, each from a disk of its own, and waits until all are off.
    ///
    /// - Returns: what each took, in the order of the disks.
    public func boot(disks: [String], timeLimit: Double) throws(TestBedError) -> [Boot] {
        let outcome = Outcome()
        let threads = disks.indices.map { number in
            Thread.start {
                do throws(TestBedError) {
                    let boot = try boot(disk: disks[number], errand: .powerOff, timeLimit: timeLimit)
                    outcome.boots.withLock { $0[number] = boot }
                } catch {
                    outcome.failure.withLock { $0 = error }
                }
            }
        }
        threads.forEach { $0.join() }
        if let failure = outcome.failure.withLock({ $0 }) { throw failure }
        return outcome.boots.withLock { boots in disks.indices.compactMap { boots[$0] } }
    }

    private final class Outcome: Sendable {
        let boots = Mutex<[Int: Boot]>([:])
        let failure = Mutex<TestBedError?>(nil)
    }
}
