/// Bytes at offsets: a file, a virtual disk made of files, or a volume on such a disk.
///
/// Calls block the calling thread; they are made on an I/O thread, never on an event loop. Devices may be used
/// by several threads at once. Offsets and lengths are in bytes and need no alignment; a device that wants some
/// sees to it itself.
public protocol BlockDevice: Sendable {
    /// The name that error messages use.
    var name: String { get }
    /// The size in bytes, now.
    var size: Int { get }
    /// Fills the whole of `buffer` from `offset`, or throws.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError)
    /// The next bytes of `range` that may be other than zeros; nil when all of it reads as zeros.
    func nextData(in range: ByteRange) -> ByteRange?
    /// Writes the whole of `bytes` at `offset`, or throws; durable only after ``flush()``.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError)
    /// Makes durable every write that returned before the call.
    func flush() throws(StorageError)
}

extension BlockDevice {
    /// All of it may, for all that is known.
    public func nextData(in range: ByteRange) -> ByteRange? {
        range.isEmpty ? nil : range
    }

    /// Reads `range` into memory of its own.
    public func read(_ range: ByteRange) throws(StorageError) -> [UInt8] {
        try checkRange(range, operation: "read")
        var failure: StorageError?
        let bytes = [UInt8](unsafeUninitializedCapacity: range.length) { buffer, count in
            do throws(StorageError) {
                try read(into: UnsafeMutableRawBufferPointer(buffer), at: range.offset)
                count = range.length
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Throws `outOfRange` unless the device holds every byte of `range`.
    public func checkRange(_ range: ByteRange, operation: String) throws(StorageError) {
        guard range.end <= size else {
            throw StorageError(.outOfRange, operation: operation, device: name, range: range)
        }
    }
}
