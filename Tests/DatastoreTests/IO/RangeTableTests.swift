import BlockStorage
import Glibc
import Synchronization
import Testing

@testable import Datastore

extension RangeTable {
    func endWrite(_ ticket: WriteTicket) { endWrite(ticket) { _, _ in } }
}

struct RangeTableTests {
    private let first = ByteRange(offset: 0, length: 4096)
    private let second = ByteRange(offset: 4096, length: 4096)

    private func isInserted(_ table: RangeTable, _ ticket: RangeTable.FillTicket) -> Bool {
        var inserted = false
        table.endFill(ticket) { inserted = true }
        return inserted
    }

    @Test func fillThatNoWriteTouchedIsInserted() throws {
        let table = RangeTable()
        let fill = try #require(table.beginFill(first))
        table.endWrite(table.beginWrite(second))
        #expect(isInserted(table, fill))
    }

    @Test func fillIsStaleWhenAWriteCameBetween() throws {
        let table = RangeTable()
        let fill = try #require(table.beginFill(first))
        table.endWrite(table.beginWrite(first))
        #expect(!isInserted(table, fill))
    }

    @Test func fillIsStaleWhenItBeganDuringAWrite() throws {
        let table = RangeTable()
        let write = table.beginWrite(first)
        let fill = try #require(table.beginFill(first))
        table.endWrite(write)
        #expect(!isInserted(table, fill))
    }

    @Test func onlyAWriteWithoutCompanyIsToldThatItWasAlone() {
        let table = RangeTable()
        var answers: [Bool] = []
        let lone = table.beginWrite(first)
        table.endWrite(lone) { answers.append($1) }
        let long = table.beginWrite(first)
        let short = table.beginWrite(second)
        table.endWrite(short) { answers.append($1) }
        table.endWrite(long) { answers.append($1) }
        #expect(answers == [true, false, false])
    }

    /// Nobody begins between the look at the file and what it is compared with.
    @Test func theFileIsLookedAtBeforeTheFirstAndAfterTheLastOfAGroup() {
        let table = RangeTable()
        let pool = IOPool(name: "test", threadCount: 8)
        let writing = Atomic(0)
        let looks = Atomic(0)
        let wrong = Atomic(0)
        for number in 0..<400 {
            pool.submit {
                let range = number.isMultiple(of: 3) ? second : ByteRange(offset: number * 8192, length: 4096)
                let ticket = table.beginWrite(range) {
                    looks.add(1, ordering: .relaxed)
                    if writing.load(ordering: .relaxed) != 0 { wrong.add(1, ordering: .relaxed) }
                }
                writing.add(1, ordering: .relaxed)
                if number.isMultiple(of: 7) { usleep(100) }
                writing.subtract(1, ordering: .relaxed)
                table.endWrite(ticket) { isLast, _ in
                    guard isLast else { return }
                    looks.subtract(1, ordering: .relaxed)
                    if writing.load(ordering: .relaxed) != 0 { wrong.add(1, ordering: .relaxed) }
                }
            }
        }
        pool.shutDown()
        let found = (wrong.load(ordering: .relaxed), looks.load(ordering: .relaxed))
        #expect(found == (0, 0))
    }

    @Test func nobodyLooksWhileAWriteIsUnderWay() {
        let table = RangeTable()
        let write = table.beginWrite(first)
        let isIdle = table.whileIdle(waits: true) { Issue.record("a write is under way") }
        #expect(!isIdle)
        table.endWrite(write)
        var looks = 0
        let wasIdle = table.whileIdle(waits: false) { if !table.whileIdle(waits: false, {}) { looks += 1 } }
        #expect(wasIdle && looks == 1)
    }

    /// Who waits for the writes under way does not wait for those that come after.
    @Test func waitingForWritesEndsThoughOthersGoOn() {
        let table = RangeTable()
        let pool = IOPool(name: "test", threadCount: 3)
        let waited = Atomic(false)
        let old = table.beginWrite(first)
        for number in 0..<2 {
            pool.submit {
                var (page, last) = (0, table.beginWrite(ByteRange(offset: (number + 1) << 20, length: 1)))
                while !waited.load(ordering: .relaxed) {
                    page ^= 4096
                    let next = table.beginWrite(ByteRange(offset: (number + 1) << 20 + page, length: 1))
                    table.endWrite(last)
                    last = next
                    sched_yield()
                }
                table.endWrite(last)
            }
        }
        pool.submit {
            table.waitForWrites()
            waited.store(true, ordering: .relaxed)
        }
        table.endWrite(old)
        pool.shutDown()
        let hasEnded = waited.load(ordering: .relaxed)
        #expect(hasEnded)
    }

    @Test func overlappingWritesRunOneAfterTheOther() {
        let table = RangeTable()
        let pool = IOPool(name: "test", threadCount: 8)
        let running = Atomic(0)
        let most = Atomic(0)
        for _ in 0..<200 {
            pool.submit {
                let ticket = table.beginWrite(ByteRange(offset: 0, length: 8192))
                let now = running.add(1, ordering: .relaxed).newValue
                most.max(now, ordering: .relaxed)
                running.subtract(1, ordering: .relaxed)
                table.endWrite(ticket)
            }
        }
        pool.shutDown()
        #expect(most.load(ordering: .relaxed) == 1)
    }

    /// Who sets a file's size meets a moment without writes however many there are.
    @Test func laterWritesWaitBehindOneThatWaits() {
        let table = RangeTable()
        let pool = IOPool(name: "test", threadCount: 2)
        let order = Locked<[String]>([])
        let write = table.beginWrite(first)
        pool.submit {
            let all = table.beginWrite(ByteRange(offset: 0, length: .max))
            order.withLock { $0.append("all") }
            table.endWrite(all)
        }
        while table.waitingCount < 1 { usleep(1000) }
        pool.submit {
            // Nothing that is under way touches it.
            let later = table.beginWrite(second)
            order.withLock { $0.append("later") }
            table.endWrite(later)
        }
        while table.waitingCount < 2, order.withLock({ $0.isEmpty }) { usleep(1000) }
        order.withLock { $0.append("first") }
        table.endWrite(write)
        pool.shutDown()
        #expect(order.withLock { $0 } == ["first", "all", "later"])
    }

    @Test func secondFillWaitsForTheFirstAndIsSentBackToTheCache() throws {
        let table = RangeTable()
        let pool = IOPool(name: "test", threadCount: 1)
        let sentBack = Atomic(0)
        // Whether a fill comes before the end of the one before is the scheduler's affair: it will once in a while.
        for _ in 0..<1_000 where sentBack.load(ordering: .relaxed) == 0 {
            let fill = try #require(table.beginFill(first))
            pool.submit {
                if let second = table.beginFill(ByteRange(offset: 0, length: 8192)) {
                    table.endFill(second) {}
                } else {
                    sentBack.add(1, ordering: .relaxed)
                }
            }
            usleep(1_000)
            table.endFill(fill) {}
            while table.beginFill(first).map({ table.endFill($0) {} }) == nil {}
        }
        pool.shutDown()
        #expect(sentBack.load(ordering: .relaxed) > 0)
    }

    @Test func theDestagerWaitsForAWriteAndLaterWritesForTheDestager() {
        let table = RangeTable()
        let pool = IOPool(name: "test", threadCount: 2)
        let order = Locked<[String]>([])
        func note(_ step: String) { order.withLock { $0.append(step) } }
        let write = table.beginWrite(first)
        pool.submit {
            table.whileDestaging(ByteRange(offset: 0, length: 8192)) { order.withLock { $0.append("destaged") } }
        }
        while !table.isDestaging { usleep(1000) }
        pool.submit {
            // It touches nothing of the write, but is behind what waits for it.
            let later = table.beginWrite(second)
            order.withLock { $0.append("later") }
            table.endWrite(later)
        }
        usleep(20_000)
        note("written")
        table.endWrite(write)
        pool.shutDown()
        #expect(order.withLock { $0 } == ["written", "destaged", "later"])
    }

    @Test func aLentRangeIsTheDestagersUntilItHasLeftIt() {
        let table = RangeTable()
        let pool = IOPool(name: "test", threadCount: 2)
        let order = Locked<[String]>([])
        let write = table.beginWrite(first)
        table.lending(write) {
            let isIn = Atomic(false)
            pool.submit {
                table.whileDestaging(first) {
                    isIn.store(true, ordering: .sequentiallyConsistent)
                    usleep(20_000)
                    order.withLock { $0.append("destaged") }
                }
            }
            while !isIn.load(ordering: .sequentiallyConsistent) { usleep(1000) }
            pool.submit {
                let other = table.beginWrite(first)
                order.withLock { $0.append("other") }
                table.endWrite(other)
            }
        }
        order.withLock { $0.append("written") }
        table.endWrite(write)
        pool.shutDown()
        #expect(order.withLock { $0 } == ["destaged", "written", "other"])
    }

    @Test func aWriteMayDestageItsOwnRangeThatItLends() {
        let table = RangeTable()
        let write = table.beginWrite(first)
        table.lending(write) { table.whileDestaging(first) {} }
        table.endWrite(write)
        let isIdle = table.whileIdle(waits: false) {}
        #expect(isIdle)
    }
}
