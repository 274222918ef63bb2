import Glibc

/// A file of every write to a modelled disk, in the order of their arrival: for each its offset and its length, as
/// little-endian numbers of 64 bits, and its bytes.
final class WriteLog: Sendable {
    private let descriptor: Int32

    init(path: String) throws(TestBedError) {
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
    }

    deinit {
        close(descriptor)
    }

    /// Appends a write; whether all of it could be.
    func append(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        let header = [UInt64(offset).littleEndian, UInt64(bytes.count).littleEndian]
        let size = header.count * MemoryLayout<UInt64>.stride
        return header.withUnsafeBytes { write(descriptor, $0.baseAddress, size) } == size
            && write(descriptor, bytes.baseAddress, bytes.count) == bytes.count
    }
}
