import BlockStorage
import Glibc
import Synchronization

/// A disk in memory; pages that hold only zeros take none.
public final class MemoryDevice: BlockDevice {
    private static let pageSize = 4096

    /// The name that error messages use.
    public let name = "memory"
    /// The size in bytes.
    public let size: Int
    private let pages: Mutex<[Int: [UInt8]]>

    /// A disk of zeros.
    public init(size: Int) {
        self.size = size
        pages = Mutex([:])
    }

    /// A disk with the bytes of `other`, of which `ranges` are looked at; the rest is zeros.
    public init(copying ranges: [ByteRange], of other: some BlockDevice) throws {
        size = other.size
        pages = Mutex([:])
        for range in ranges {
            try write(other.read(range), at: range.offset)
        }
    }

    /// Fills `buffer` from `offset`.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try checkRange(ByteRange(offset: offset, length: buffer.count), operation: "read")
        pages.withLock { pages in
            Self.forEachPage(offset, buffer.count) { page, inPage, position, length in
                let target = UnsafeMutableRawBufferPointer(rebasing: buffer[position..<position + length])
                guard let bytes = pages[page] else {
                    target.initializeMemory(as: UInt8.self, repeating: 0)
                    return
                }
                bytes.withUnsafeBytes { target.copyMemory(from: .init(rebasing: $0[inPage..<inPage + length])) }
            }
        }
    }

    /// Writes `bytes` at `offset`.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try checkRange(ByteRange(offset: offset, length: bytes.count), operation: "write")
        pages.withLock { pages in
            Self.forEachPage(offset, bytes.count) { page, inPage, position, length in
                let source = UnsafeRawBufferPointer(rebasing: bytes[position..<position + length])
                guard pages[page] != nil || !Self.isZero(source) else { return }
                pages[page, default: [UInt8](repeating: 0, count: Self.pageSize)]
                    .replaceSubrange(inPage..<inPage + length, with: source)
            }
        }
    }

    /// Does nothing: nothing survives the process.
    public func flush() {}

    /// Whether every byte is 0: the first is, and each equals the one before it.
    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let start = bytes.baseAddress, bytes[0] == 0 else { return bytes.isEmpty }
        return memcmp(start, start + 1, bytes.count - 1) == 0
    }

    private static func forEachPage(
        _ offset: Int, _ count: Int, _ body: (_ page: Int, _ inPage: Int, _ position: Int, _ length: Int) -> Void
    ) {
        var position = 0
        while position < count {
            let (page, inPage) = (offset + position).quotientAndRemainder(dividingBy: pageSize)
            let length = min(pageSize - inPage, count - position)
            body(page, inPage, position, length)
            position += length
        }
    }
}

extension BlockDevice {
    /// Writes `bytes` at `offset`.
    public func write(_ bytes: [UInt8], at offset: Int) throws {
        try bytes.withUnsafeBytes { try write($0, at: offset) }
    }
}
