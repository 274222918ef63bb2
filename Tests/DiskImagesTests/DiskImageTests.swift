import BlockStorage
import Testing

@testable import DiskImages

struct DiskImageTests {
    private let files = ["d", "a", "b"].map { HostFile(path: $0, role: $0 == "d" ? .descriptor : .extent) }

    @Test func offsetsMapBothWays() throws {
        let image = try #require(
            DiskImage(
                format: .vmdk, files: files,
                extents: [
                    ImageExtent(diskOffset: 0, length: 100, source: .file(index: 2, offset: 50)),
                    ImageExtent(diskOffset: 100, length: 20, source: .zero),
                    ImageExtent(diskOffset: 120, length: 30, source: .file(index: 1, offset: 0)),
                    ImageExtent(diskOffset: 150, length: 50, source: .file(index: 2, offset: 0)),
                ]))
        #expect(image.size == 200)
        for offset in 0..<200 {
            image.forEachFileRange(of: ByteRange(offset: offset, length: 1)) { source, range in
                #expect(range == ByteRange(offset: offset, length: 1))
                guard case .file(let index, let fileOffset) = source else {
                    #expect((100..<120).contains(offset))
                    return
                }
                #expect(image.diskOffset(file: index, offset: fileOffset) == offset)
            }
        }
        #expect(image.diskOffset(file: 0, offset: 0) == nil)
        #expect(image.diskOffset(file: 1, offset: 30) == nil)
        #expect(image.diskOffset(file: 2, offset: 150) == nil)
        #expect(image.diskOffset(file: 7, offset: 0) == nil)
        var pieces: [ByteRange] = []
        image.forEachDiskRange(ofFile: 2, ByteRange(offset: 40, length: 20)) { diskRange, _ in pieces.append(diskRange)
        }
        #expect(pieces == [ByteRange(offset: 190, length: 10), ByteRange(offset: 0, length: 10)])
    }

    @Test func extentsWithGapsOrSharedBytesMakeNoImage() {
        func image(_ extents: [ImageExtent]) -> DiskImage? { DiskImage(format: .vmdk, files: files, extents: extents) }
        #expect(image([ImageExtent(diskOffset: 1, length: 1, source: .zero)]) == nil)
        let first = ImageExtent(diskOffset: 0, length: 10, source: .file(index: 1, offset: 5))
        #expect(image([first, ImageExtent(diskOffset: 10, length: 10, source: .file(index: 1, offset: 14))]) == nil)
        #expect(image([first, ImageExtent(diskOffset: 10, length: 10, source: .file(index: 3, offset: 0))]) == nil)
        #expect(image([first, ImageExtent(diskOffset: 10, length: 10, source: .file(index: 2, offset: 14))]) != nil)
    }
}
