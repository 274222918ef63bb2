import BlockStorage
import DiskImages

/// How introspection reads a virtual disk.
///
/// The datastore answers from its cache and keeps what is read, under the class that comes with it;
/// `introspect-scan` reads the image file. Calls block and may come from several threads at once.
public protocol ClassifiedReader: Sendable {
    /// The size of the virtual disk in bytes.
    var size: Int { get }
    /// The bytes that the disk takes where it is kept, holes left out; its size when nobody has said.
    var storedBytes: Int { get }
    /// Where on it each of several disks is that are read as one, because their volume groups belong together.
    var members: [ByteRange] { get }
    /// The sectors that its master boot record counts in, 512 or 4096 bytes; nil when nobody has said.
    var sectorSize: Int? { get }
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
    /// Nobody has said.
    public var storedBytes: Int { size }

    /// It is one disk.
    public var members: [ByteRange] { [ByteRange(offset: 0, length: size)] }

    /// Nobody has said.
    public var sectorSize: Int? { nil }

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
    /// The disks that the device is made of.
    public let members: [ByteRange]
    /// The sectors that its master boot record counts in; nil when nobody has said.
    public let sectorSize: Int?

    /// A reader of the whole of `device`, which is made of the disks at `members`; nil for one disk.
    public init(_ device: any BlockDevice, members: [ByteRange]? = nil, sectorSize: Int? = nil) {
        self.device = device
        self.sectorSize = sectorSize
        self.members = members ?? [ByteRange(offset: 0, length: device.size)]
    }

    /// A reader of `disk`, which may be several joined.
    public init(_ disk: VirtualDisk, sectorSize: Int? = nil) {
        self.init(disk, members: disk.image.members, sectorSize: sectorSize)
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
