import BlockStorage

/// The file of an image, as the destager writes to it beside clients.
///
/// A client's write that goes to the log *and* to the file holds its range over both. Whoever lays a record of the log
/// over the file holds the range, too, and looks up again whether the record is still the newest: else an older block
/// could come over a newer one that the file has already, and whoever takes the file for complete then (the log has
/// failed, or was left out at a start) would serve it.
///
/// Why nobody waits for ever, though writers wait for the destager and the destager for writers:
/// - A writer waits for the destager in three places: the log is full, its write makes the file longer, or the log has
///   failed. In all of them it has written nothing yet, and *lends* its range: the destager goes on as if it were
///   free, and the writer has it back when the destager has left it (`RangeTable.lending`, `RedirectLog.write`).
/// - The destager waits for no other writers: these are in a group commit, in a write to the register or to the file,
///   and none of that waits for the destager.
/// - While it has a range it only writes to the file: it reads the log, gives way to others, flushes and settles before
///   or after.
/// - A range is no lock: it is noted as in flight, and who wants it waits on the table's monitor.
public protocol DestageTarget: BlockDevice {
    /// Runs `body`, which writes to `range` or a part of it, while no client's write is between the log and the file
    /// there, but for those that wait for the destager.
    func exclusively(_ range: ByteRange, _ body: () throws(StorageError) -> Void) throws(StorageError)
}

/// An image that nobody but the destager writes to.
public struct UnsharedTarget: DestageTarget {
    private let device: any BlockDevice

    /// The image on `device`.
    public init(_ device: any BlockDevice) {
        self.device = device
    }

    /// The device's name.
    public var name: String { device.name }
    /// The size in bytes.
    public var size: Int { device.size }

    /// Fills `buffer` from `offset`.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try device.read(into: buffer, at: offset)
    }

    /// Writes `bytes` at `offset`.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try device.write(bytes, at: offset)
    }

    /// Flushes the device.
    public func flush() throws(StorageError) {
        try device.flush()
    }

    /// Runs `body`.
    public func exclusively(_ range: ByteRange, _ body: () throws(StorageError) -> Void) throws(StorageError) {
        try body()
    }
}
