import BlockStorage

/// Several devices as one, in stripes that go round them. Without any one of them nothing can be read.
public struct StripedDevice: BlockDevice {
    /// What a log that is made anew leaves at the start of each device, for its superblocks, in bytes.
    public static let headerSize = 8192
    private static let stripe = 1 << 20

    let devices: [any BlockDevice]
    /// The bytes at the start of each device that are in no stripe; those of the first are the start of the whole.
    let headerSize: Int
    /// The bytes of a stripe.
    private let stripe: Int

    /// The devices, which must come in the same order each time.
    public init(_ devices: [any BlockDevice], headerSize: Int = Self.headerSize) {
        self.init(devices, headerSize: headerSize, stripe: Self.stripe)
    }

    init(_ devices: [any BlockDevice], headerSize: Int = Self.headerSize, stripe: Int) {
        self.devices = devices
        self.headerSize = headerSize
        self.stripe = stripe
    }

    /// The devices' names.
    public var name: String { devices.map(\.name).joined(separator: " and ") }

    /// The size in bytes: as much of each as the smallest has.
    public var size: Int {
        let each = max(0, (devices.map(\.size).min() ?? 0) - headerSize)
        return headerSize + each / stripe * stripe * devices.count
    }

    /// Fills `buffer` from `offset`.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try checkRange(ByteRange(offset: offset, length: buffer.count), operation: "read")
        var done = 0
        while done < buffer.count {
            let (device, place, count) = part(at: offset + done, of: buffer.count - done)
            try device.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count]), at: place)
            done += count
        }
    }

    /// Writes `bytes` at `offset`.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        try checkRange(ByteRange(offset: offset, length: bytes.count), operation: "write")
        var done = 0
        while done < bytes.count {
            let (device, place, count) = part(at: offset + done, of: bytes.count - done)
            try device.write(UnsafeRawBufferPointer(rebasing: bytes[done..<done + count]), at: place)
            done += count
        }
    }

    /// Flushes all devices.
    public func flush() throws(StorageError) {
        for device in devices { try device.flush() }
    }

    private func part(at offset: Int, of count: Int) -> (device: any BlockDevice, place: Int, count: Int) {
        guard offset >= headerSize else { return (devices[0], offset, min(count, headerSize - offset)) }
        let (number, inStripe) = (offset - headerSize).quotientAndRemainder(dividingBy: stripe)
        let (row, column) = number.quotientAndRemainder(dividingBy: devices.count)
        return (devices[column], headerSize + row * stripe + inStripe, min(count, stripe - inStripe))
    }
}
