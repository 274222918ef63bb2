import BlockStorage
import Glibc
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

    /// What `other` is now.
    convenience init(copying other: SparseDisk) {
        self.init(size: other.size)
        let bytes = other.pages.withLock { $0 }
        pages.withLock { $0 = bytes }
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

    /// Calls `body` with the pages that take any, in no order.
    func forEachStored(_ body: (_ offset: Int, [UInt8]) throws -> Void) rethrows {
        for (page, bytes) in pages.withLock({ $0 }) { try body(page * Self.pageSize, bytes) }
    }

    /// `SEEK_DATA` and `SEEK_HOLE` of lseek(2).
    private static let (seekData, seekHole) = (Int32(3), Int32(4))

    /// A disk as large as the file at `path`, with all that is stored of it.
    convenience init(storedAt path: String) throws {
        let file = open(path, O_RDONLY)
        guard file >= 0 else { throw StorageError.lastSystemError(operation: "open", device: path) }
        defer { close(file) }
        self.init(size: lseek(file, 0, SEEK_END))
        let zeros = [UInt8](repeating: 0, count: Self.pageSize)
        var bytes = zeros
        var offset = lseek(file, 0, Self.seekData)
        while offset >= 0 {
            let end = min(size, lseek(file, offset, Self.seekHole))
            for start in stride(from: offset & ~(Self.pageSize - 1), to: end, by: Self.pageSize) {
                let count = pread(file, &bytes, Self.pageSize, start)
                guard count > 0 else { break }
                if bytes != zeros { bytes[..<count].withUnsafeBytes { write($0, at: start) } }
            }
            offset = lseek(file, end, Self.seekData)
        }
    }

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
