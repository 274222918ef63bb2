import BlockStorage
import Dispatch
import Testing

struct LockedTests {
    @Test func oneThreadAtATime() {
        let sum = Locked(0)
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            for _ in 0..<100_000 { sum.withLock { $0 += 1 } }
        }
        #expect(sum.withLock { $0 } == 400_000)
    }

    @Test func nobodyIsLetInBesideAnother() {
        let value = Locked(1, .branch)
        let beside = Locked<Int?>(0)
        let pool = IOPool(name: "test", threadCount: 1)
        value.withLock { _ in
            let hasTried = DispatchSemaphore(value: 0)
            pool.submit {
                let found = value.withLockIfAvailable { $0 }
                beside.withLock { $0 = found }
                hasTried.signal()
            }
            hasTried.wait()
        }
        pool.shutDown()
        #expect(beside.withLock { $0 } == nil)
        #expect(value.withLockIfAvailable { $0 } == 1)
    }

    /// The value goes with the lock.
    @Test func theValueIsReleased() {
        final class Token: Sendable {}
        weak var token: Token?
        do {
            let locked: Locked<Token?>
            let made = Token()
            token = made
            locked = Locked(made)
            #expect(locked.withLock { $0 != nil })
        }
        #expect(token == nil)
    }
}
