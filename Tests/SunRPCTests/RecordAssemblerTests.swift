import NIOCore
import Testing

@testable import SunRPC

@Suite struct RecordAssemblerTests {
    private func assembler(maximumLength: Int = 1000, maximumFragments: Int = 10) -> RecordAssembler {
        RecordAssembler(maximumLength: maximumLength, maximumFragments: maximumFragments)
    }

    private func fragment(_ bytes: [UInt8], isLast: Bool) -> [UInt8] {
        words(UInt32(bytes.count) | (isLast ? RecordMark.lastFragment : 0)) + bytes
    }

    @Test func recordsOfOneReceivedBufferAreSlicesOfIt() throws {
        let received = ByteBuffer(bytes: record([1, 2, 3, 4, 5]) + record([]) + record([6]))
        var assembler = assembler()
        assembler.append(received)
        let first = try #require(try assembler.next())
        #expect(first.array == [1, 2, 3, 4, 5])
        #expect(first.address == received.address + 4)
        #expect(try assembler.next()?.readableBytes == 0)
        let third = try #require(try assembler.next())
        #expect(third.address == received.address + 17)
        #expect(try assembler.next() == nil)
        #expect(!assembler.isMidRecord)
    }

    @Test func aUsedUpBufferIsLetGo() throws {
        var received = ByteBuffer(bytes: record([1]))
        var assembler = assembler()
        assembler.append(received)
        _ = try assembler.next()
        // Its owner can fill it again without a copy: nobody else holds it.
        let refilled: Void? = received.modifyIfUniquelyOwned { buffer in buffer.clear() }
        #expect(refilled != nil)
    }

    @Test func bytesThatComeOneByOne() throws {
        let stream =
            record([1, 2, 3]) + fragment([4], isLast: false) + fragment([], isLast: false)
            + fragment([5, 6], isLast: true) + record(Array(0..<100))
        var assembler = assembler()
        var records: [[UInt8]] = []
        for byte in stream {
            assembler.append(ByteBuffer(bytes: [byte]))
            while let record = try assembler.next() {
                records.append(record.array)
                #expect(!assembler.isMidRecord)
            }
        }
        #expect(records == [[1, 2, 3], [4, 5, 6], Array(0..<100)])
    }

    @Test(arguments: 1...30) func anyCutOfTheStreamGivesTheSameRecords(size: Int) throws {
        let stream = ByteBuffer(
            bytes: record([1, 2, 3]) + fragment([4, 5], isLast: false) + fragment([6], isLast: true) + record([7]))
        var assembler = assembler()
        var records: [[UInt8]] = []
        var rest = stream
        while rest.readableBytes > 0 {
            let piece = rest.readSlice(length: min(size, rest.readableBytes))
            assembler.append(try #require(piece))
            while let record = try assembler.next() {
                records.append(record.array)
            }
        }
        #expect(records == [[1, 2, 3], [4, 5, 6], [7]])
    }

    @Test func moreMayBeAddedBeforeTheRestIsTaken() throws {
        var assembler = assembler()
        assembler.append(ByteBuffer(bytes: record([1]) + record([2]) + [0x80, 0]))
        #expect(try assembler.next()?.array == [1])
        assembler.append(ByteBuffer(bytes: [0, 1, 3] + record([4])))
        #expect(try assembler.next()?.array == [2])
        #expect(try assembler.next()?.array == [3])
        #expect(try assembler.next()?.array == [4])
        #expect(try assembler.next() == nil)
    }

    @Test func aRecordMayBeAsLongAsTheLimitAndNoLonger() throws {
        let longest = [UInt8](repeating: 7, count: 1000)
        var accepting = assembler()
        accepting.append(ByteBuffer(bytes: record(longest)))
        #expect(try accepting.next()?.readableBytes == 1000)

        var refusing = assembler()
        refusing.append(ByteBuffer(bytes: record(longest + [7])))
        let expected = RecordError.tooLong(length: 1001, maximum: 1000)
        #expect(failure { () throws(RecordError) in _ = try refusing.next() } == expected)
    }

    /// The mark alone is enough: nothing is allocated for what it announces.
    @Test(arguments: [UInt32.max, 0x7FFF_FFFF, 0x8000_03E9, 0x0000_03E9]) func aMarkAboveTheLimitIsRefused(mark: UInt32)
    {
        var assembler = assembler()
        assembler.append(ByteBuffer(bytes: words(mark)))
        let expected = RecordError.tooLong(length: Int(mark & 0x7FFF_FFFF), maximum: 1000)
        #expect(failure { () throws(RecordError) in _ = try assembler.next() } == expected)
    }

    @Test func theLimitIsOnAllFragmentsTogether() throws {
        var assembler = assembler()
        assembler.append(ByteBuffer(bytes: fragment([UInt8](repeating: 0, count: 600), isLast: false)))
        #expect(try assembler.next() == nil)
        assembler.append(ByteBuffer(bytes: words(401)))
        let expected = RecordError.tooLong(length: 1001, maximum: 1000)
        #expect(failure { () throws(RecordError) in _ = try assembler.next() } == expected)
    }

    @Test func emptyFragmentsAreCounted() throws {
        var assembler = assembler()
        assembler.append(ByteBuffer(bytes: Array(repeating: [0, 0, 0, 0], count: 9).joined()))
        #expect(try assembler.next() == nil)
        #expect(assembler.isMidRecord)
        assembler.append(ByteBuffer(bytes: record([1])))
        #expect(try assembler.next()?.array == [1])

        assembler.append(ByteBuffer(bytes: Array(repeating: [0, 0, 0, 0], count: 11).joined()))
        let expected = RecordError.tooManyFragments(maximum: 10)
        #expect(failure { () throws(RecordError) in _ = try assembler.next() } == expected)
    }

    @Test(arguments: [0, 1, 3, 4, 5, 7]) func aRecordIsUnderWayFromItsFirstByteToItsLast(received: Int) throws {
        var assembler = assembler()
        assembler.append(ByteBuffer(bytes: record([1, 2, 3, 4]).prefix(received)))
        #expect(try assembler.next() == nil)
        #expect(assembler.isMidRecord == (received > 0))
    }
}
