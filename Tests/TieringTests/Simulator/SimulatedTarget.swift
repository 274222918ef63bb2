import BlockStorage
import Glibc

@testable import Tiering

/// An image as the destager writes to it.
struct SimulatedTarget: DestageTarget {
    private let file: SimulatedFile
    private let begin: @Sendable (ByteRange) -> Void
    private let end: @Sendable () -> Void

    init(_ file: SimulatedFile, begin: @escaping @Sendable (ByteRange) -> Void, end: @escaping @Sendable () -> Void) {
        self.file = file
        self.begin = begin
        self.end = end
    }

    var name: String { file.name }
    var size: Int { file.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try file.read(into: buffer, at: offset)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try file.write(bytes, at: offset)
    }

    func flush() throws(StorageError) { try file.flush() }

    func exclusively(_ range: ByteRange, _ body: () throws(StorageError) -> Void) throws(StorageError) {
        begin(range)
        defer { end() }
        try body()
    }
}
