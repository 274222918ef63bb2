import BlockStorage
import Synchronization
import Testing

@testable import Datastore

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
        table.endWrite(lone) { answers.append($0) }
        let long = table.beginWrite(first)
        let short = table.beginWrite(second)
        table.endWrite(short) { answers.append($0) }
        table.endWrite(long) { answers.append($0) }
        #expect(answers == [true, false, false])
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

    @Test func secondFillWaitsForTheFirstAndIsSentBackToTheCache() throws {
        let table = RangeTable()
        let fill = try #require(table.beginFill(first))
        let pool = IOPool(name: "test", threadCount: 1)
        let sentBack = Atomic(false)
        pool.submit { sentBack.store(table.beginFill(ByteRange(offset: 0, length: 8192)) == nil, ordering: .relaxed) }
        table.endFill(fill) {}
        pool.shutDown()
        // Whether the second came before the end of the first is the scheduler's affair; then it got a fill of its own.
        if !sentBack.load(ordering: .relaxed) { #expect(table.beginFill(second) == nil) }
    }
}
