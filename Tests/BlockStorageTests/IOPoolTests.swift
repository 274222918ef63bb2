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
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            for number in 0..<rounds {
                let work: IOPool.Work = {
                    if number.isMultiple(of: 512) { usleep(500) }
                    if count.add(1, ordering: .relaxed).newValue == 4 * rounds { all.signal() }
                }
                guard thread < 2 else {
                    pool.submit(work)
                    continue
                }
                pool.submitInBatch(of: .server, work)
                if number % 8 == 7 { pool.endBatch() }
            }
        }
        // Nothing else is submitted: whoever waits for work and is not woken now never will be.
        #expect(all.wait(timeout: .now() + 60) == .success, "\(count.load(ordering: .relaxed)) of \(4 * rounds)")
        pool.shutDown()
    }

    /// Of a batch whose first piece blocks the thread that was woken for it, the others get threads at its end.
    @Test func theEndOfABatchFindsThreadsForAllOfIt() {
        let pool = IOPool(name: "test", threadCount: 4)
        let arrived = DispatchSemaphore(value: 0)
        let leave = DispatchSemaphore(value: 0)
        let work: IOPool.Work = {
            arrived.signal()
            leave.wait()
        }
        for round in 0..<50 {
            pool.submitInBatch(of: .server, work)
            #expect(arrived.wait(timeout: .now() + 30) == .success, "round \(round): nobody was woken for the first")
            for _ in 0..<3 { pool.submitInBatch(of: .server, work) }
            pool.endBatch()
            for number in 1...3 {
                #expect(arrived.wait(timeout: .now() + 30) == .success, "round \(round): \(number) of 4 threads work")
            }
            for _ in 0..<4 { leave.signal() }
        }
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

    /// Beside a backlog of many connections somebody who asks for little is the next, from another client and from
    /// another connection of the same.
    @Test func whoAsksForLittleWaitsForNobodysBacklog() {
        let pool = IOPool(name: "test", threadCount: 1)
        let gate = DispatchSemaphore(value: 0)
        let begun = DispatchSemaphore(value: 0)
        let served = DispatchSemaphore(value: 0)
        let done = Locked<[String]>([])
        let arrival = 200
        pool.submit {
            begun.signal()
            gate.wait()
        }
        begun.wait()
        let arrive = { @Sendable in
            for (client, connection) in [(1, 41), (2, 50)] {
                pool.submit(of: WorkOrigin(client: client, connection: connection)) {
                    done.withLock { $0.append("polite") }
                    served.signal()
                }
            }
        }
        for connection in 1...40 {
            for _ in 0..<20 {
                pool.submit(of: WorkOrigin(client: 1, connection: connection)) {
                    usleep(100)
                    // They come when the flood has been at it for a while.
                    if done.withLock({
                        $0.append("flood"); return $0.count == arrival
                    }) {
                        arrive()
                    }
                }
            }
        }
        gate.signal()
        // What is submitted after the end begins is not run.
        for _ in 0..<2 { #expect(served.wait(timeout: .now() + 30) == .success) }
        pool.shutDown()
        let order = done.withLock { $0 }
        #expect(order.count == 802)
        let places = order.indices.filter { order[$0] == "polite" }
        #expect(places.allSatisfy { $0 - arrival <= 4 }, "\(places)")
    }

    @Test func oneClientLeavesThreadsToOthers() {
        let pool = IOPool(name: "test", threadCount: 16)
        let arrived = DispatchSemaphore(value: 0)
        let other = DispatchSemaphore(value: 0)
        let leave = DispatchSemaphore(value: 0)
        for number in 0..<32 {
            pool.submit(of: WorkOrigin(client: 1, connection: number % 8)) {
                arrived.signal()
                leave.wait()
            }
        }
        for _ in 0..<14 { #expect(arrived.wait(timeout: .now() + 30) == .success) }
        pool.submit(of: WorkOrigin(client: 2, connection: 9)) { other.signal() }
        #expect(other.wait(timeout: .now() + 30) == .success, "all threads wait for one client")
        for _ in 0..<32 { leave.signal() }
        pool.shutDown()
        for _ in 14..<32 { #expect(arrived.wait(timeout: .now()) == .success) }
    }

    /// Of two with work without end each has half of the time, however many connections one has and however long its
    /// pieces are.
    @Test func clientsHaveEqualTime() {
        let pool = IOPool(name: "test", threadCount: 1)
        let gate = DispatchSemaphore(value: 0)
        let time = Locked<[Int: Int]>([:])
        pool.submit { gate.wait() }
        for number in 0..<200 {
            pool.submit(of: WorkOrigin(client: 1, connection: 1 + number % 10)) {
                usleep(2000)
                time.withLock { $0[1, default: 0] += 2000 }
            }
        }
        for _ in 0..<400 {
            pool.submit(of: WorkOrigin(client: 2, connection: 20)) {
                usleep(500)
                // The first client's share when this one is done.
                time.withLock { $0[2, default: 0] += 500 }
            }
        }
        let seen = Locked(0)
        pool.submit(of: WorkOrigin(client: 2, connection: 20)) {
            let share = time.withLock { $0[1, default: 0] }
            seen.withLock { $0 = share }
        }
        gate.signal()
        pool.shutDown()
        // 200 ms each, but for how well usleep keeps time.
        #expect((80_000...390_000).contains(seen.withLock { $0 }), "\(seen.withLock { $0 })")
    }
}
