import BlockStorage
import Dispatch
import Glibc
import Synchronization
import Testing

struct IOPoolTests {
    @Test func oneThreadTakesWorkInTheOrderOfSubmission() {
        let pool = IOPool(name: "test", threadCount: 1)
        let done = Locked<[Int]>([])
        for number in 0..<5000 {
            pool.submit { done.withLock { $0.append(number) } }
        }
        pool.shutDown()
        #expect(done.withLock { $0 } == Array(0..<5000))
    }

    /// Each thread that blocks makes room for the next, though one at a time is woken.
    @Test func asManyPiecesOfWorkBlockAsThereAreThreads() {
        let threads = 16
        let pool = IOPool(name: "test", threadCount: threads)
        for _ in 0..<50 {
            let arrived = DispatchSemaphore(value: 0)
            let leave = DispatchSemaphore(value: 0)
            for _ in 0..<threads {
                pool.submit {
                    arrived.signal()
                    leave.wait()
                }
            }
            for number in 0..<threads {
                guard arrived.wait(timeout: .now() + 30) == .success else {
                    Issue.record("only \(number) of \(threads) threads work")
                    break
                }
            }
            for _ in 0..<threads { leave.signal() }
        }
        pool.shutDown()
    }

    @Test func noWorkIsLostBetweenManyThatSubmitAndMayBlock() {
        let pool = IOPool(name: "test", threadCount: 8)
        let count = Atomic(0)
        let rounds = 20_000
        let all = DispatchSemaphore(value: 0)
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            for number in 0..<rounds {
                pool.submit {
                    if number.isMultiple(of: 512) { usleep(500) }
                    if count.add(1, ordering: .relaxed).newValue == 4 * rounds { all.signal() }
                }
            }
        }
        // Nothing else is submitted: whoever waits for work and is not woken now never will be.
        #expect(all.wait(timeout: .now() + 60) == .success, "\(count.load(ordering: .relaxed)) of \(4 * rounds)")
        pool.shutDown()
    }

    @Test func endRunsWhatWasSubmittedAndNothingLater() {
        let pool = IOPool(name: "test", threadCount: 4)
        let count = Atomic(0)
        for _ in 0..<100 { pool.submit { count.add(1, ordering: .relaxed) } }
        pool.shutDown()
        #expect(count.load(ordering: .relaxed) == 100)
        pool.submit { count.add(1, ordering: .relaxed) }
        pool.shutDown()
        #expect(count.load(ordering: .relaxed) == 100)
    }
}
