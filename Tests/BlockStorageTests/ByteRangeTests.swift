import BlockStorage
import Testing

struct ByteRangeTests {
    @Test func untrustedNumbersThatOverflowMakeNoRange() {
        #expect(ByteRange(checkedOffset: .max, length: 1) == nil)
        #expect(ByteRange(checkedOffset: UInt64(Int.max), length: 1) == nil)
        #expect(ByteRange(checkedOffset: UInt64(Int.max) - 1, length: 1)?.end == Int.max)
    }

    @Test func rangesThatTouchDoNotOverlap() {
        let range = ByteRange(offset: 10, length: 5)
        #expect(!range.overlaps(ByteRange(offset: 15, length: 1)))
        #expect(range.overlaps(ByteRange(offset: 14, length: 1)))
        #expect(range.intersection(ByteRange(offset: 0, length: 12)) == ByteRange(offset: 10, length: 2))
    }

    @Test func alignmentGrowsBothEnds() {
        #expect(ByteRange(offset: 4095, length: 2).aligned(to: 4096) == ByteRange(offset: 0, length: 8192))
        #expect(ByteRange(offset: Int.max - 10, length: 10).aligned(to: 4096).end == Int.max & ~4095)
    }
}
