import BlockStorage
import Synchronization

/// A disk of any size in memory, of which only pages that were written take any.
final class SparseDisk: BlockDevice {
    private static let pageSize = 4096

    let name = "sparse"
    let size: Int
    private let pages = Mutex<[Int: [UInt8]]>([:])

    init(size: Int) {
        self.size = size
    }

    /// The bytes that it takes.
    var storedBytes: Int { pages.withLock { $0.count * Self.pageSize } }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) {
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        pages.withLock { pages in
            forEachPage(offset, buffer.count) { page, inPage, start, count in
                guard let bytes = pages[page] else { return }
                let target = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + count])
                bytes.withUnsafeBytes { target.copyMemory(from: .init(rebasing: $0[inPage..<inPage + count])) }
            }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        pages.withLock { pages in
            forEachPage(offset, bytes.count) { page, inPage, start, count in
                pages[page, default: [UInt8](repeating: 0, count: Self.pageSize)].replaceSubrange(
                    inPage..<inPage + count, with: bytes[start..<start + count])
            }
        }
    }

    func flush() {}

    private func forEachPage(
        _ offset: Int, _ length: Int, _ body: (_ page: Int, _ inPage: Int, _ start: Int, _ count: Int) -> Void
    ) {
        var start = 0
        while start < length {
            let (page, inPage) = (offset + start).quotientAndRemainder(dividingBy: Self.pageSize)
            let count = min(Self.pageSize - inPage, length - start)
            body(page, inPage, start, count)
            start += count
        }
    }
}
