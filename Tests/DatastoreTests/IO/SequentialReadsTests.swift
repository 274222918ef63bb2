import BlockStorage
import Testing

@testable import Datastore

struct SequentialReadsTests {
    private let fileSize = 64 << 20

    @Test func randomReadsReadNothingAhead() {
        var reads = SequentialReads()
        for offset in [0, 40960, 8192, 1 << 20, 20480] {
            #expect(reads.note(ByteRange(offset: offset, length: 4096), fileSize: fileSize) == nil)
        }
    }

    @Test func sequentialReadsReadEveryByteAheadOnceInGrowingWindows() {
        var reads = SequentialReads()
        var windows: [ByteRange] = []
        for offset in stride(from: 0, to: fileSize, by: 65536) {
            let range = ByteRange(offset: offset, length: 65536)
            if let ahead = reads.note(range, fileSize: fileSize) { windows.append(ahead) }
        }
        #expect(windows.first?.length == SequentialReads.smallestWindow)
        #expect(windows.dropLast().allSatisfy { $0.length <= SequentialReads.largestWindow })
        for (left, right) in zip(windows, windows.dropFirst()) {
            #expect(left.end == right.offset)
        }
        #expect(windows.last?.end == fileSize)
    }

    @Test func readsWhereOffsetsEndReadAheadToTheEndAtMost() {
        var reads = SequentialReads()
        for offset in stride(from: Int.max - 400_000, to: Int.max - 65536, by: 65536) {
            let ahead = reads.note(ByteRange(offset: offset, length: 65536), fileSize: Int.max)
            #expect((ahead?.end ?? 0) <= Int.max)
        }
    }

    @Test func streamsSideBySideAreToldApart() {
        var reads = SequentialReads()
        var ahead = 0
        for step in 0..<64 {
            for stream in 0..<4 {
                let offset = stream << 24 + step * 65536
                ahead += reads.note(ByteRange(offset: offset, length: 65536), fileSize: 1 << 30)?.length ?? 0
            }
        }
        #expect(ahead >= 4 * 60 * 65536)
    }
}
