import BlockStorage

/// How introspection reads a virtual disk.
///
/// The datastore answers from its cache and keeps what is read, under the class that comes with it;
/// `introspect-scan` reads the image file. Calls block and may come from several threads at once.
public protocol ClassifiedReader: Sendable {
    /// The size of the virtual disk in bytes.
    var size: Int { get }
    /// Fills the whole of `buffer`, which is `range.length` bytes long, with the disk's bytes, or throws.
    ///
    /// A read that starts after a write was acknowledged gives what was written. `blockClass` is what the caller
    /// takes the bytes for.
    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError)
    /// Fills those parts of `buffer` that `pieces` name, which are sorted, disjoint and inside `range`.
    ///
    /// `buffer` is `range.length` bytes long and starts with the range. The bytes between pieces are not wanted:
    /// they may be read along, since one access is quicker than two, but are not worth keeping.
    func read(
        _ range: ByteRange, pieces: [ClassifiedRange], into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError)
}

extension ClassifiedReader {
    /// Reads each piece by itself.
    public func read(
        _ range: ByteRange, pieces: [ClassifiedRange], into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        for piece in pieces {
            let start = piece.range.offset - range.offset
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + piece.range.length])
            try read(piece.range, as: piece.blockClass, into: part)
        }
    }
}

/// Reads a virtual disk straight from a device, whatever the class.
public struct DeviceReader: ClassifiedReader {
    private let device: any BlockDevice

    /// A reader of the whole of `device`.
    public init(_ device: any BlockDevice) {
        self.device = device
    }

    /// The size of the device in bytes.
    public var size: Int { device.size }

    /// Reads `range` from the device.
    public func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        try device.checkRange(range, operation: "read")
        try device.read(into: buffer, at: range.offset)
    }
    /// Reads `range` in one access.
    public func read(
        _ range: ByteRange, pieces: [ClassifiedRange], into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        try read(range, as: .unknown, into: buffer)
    }
}
