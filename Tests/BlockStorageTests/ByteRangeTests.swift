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
    }

    @Test func anAlignedRangeHoldsTheRangeAlsoWhereOffsetsEnd() {
        let lastBlock = Int.max & ~4095
        for range in [
            ByteRange(offset: lastBlock, length: 1), ByteRange(offset: lastBlock, length: 4095),
            ByteRange(offset: lastBlock - 1, length: 2), ByteRange(offset: lastBlock - 4096, length: 4096),
            ByteRange(offset: Int.max, length: 0), ByteRange(offset: 0, length: Int.max),
        ] {
            let aligned = range.aligned(to: 4096)
            #expect(aligned.contains(range) && aligned.offset % 4096 == 0)
            #expect(aligned.end % 4096 == 0 || aligned.end == Int.max)
            #expect(aligned.overlaps(range) == !range.isEmpty)
        }
    }
}
