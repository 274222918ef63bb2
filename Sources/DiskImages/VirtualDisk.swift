import BlockStorage

/// The virtual disk that an image's files hold.
public struct VirtualDisk: BlockDevice {
    /// Where the bytes are.
    public let image: DiskImage
    private let devices: [any BlockDevice]

    /// The disk of `image`, with one device for each of its files, in the same order.
    public init(image: DiskImage, devices: [any BlockDevice]) {
        precondition(devices.count == image.files.count, "a device for each file of the image")
        self.image = image
        self.devices = devices
    }

    /// The image's path.
    public var name: String { image.path }

    /// The size of the virtual disk, in bytes.
    public var size: Int { image.size }

    /// Fills `buffer` from `offset`.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        let range = ByteRange(offset: offset, length: buffer.count)
        try checkRange(range, operation: "read")
        try image.forEachFileRange(of: range) { (source, piece) throws(StorageError) in
            let start = piece.offset - offset
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + piece.length])
            switch source {
            case .zero:
                target.initializeMemory(as: UInt8.self, repeating: 0)
            case .file(let index, let fileOffset):
                try devices[index].read(into: target, at: fileOffset)
            }
        }
    }

    /// The next bytes of `range` that a host file has blocks for.
    public func nextData(in range: ByteRange) -> ByteRange? {
        struct Found: Error {
            var range: ByteRange
        }
        do throws(Found) {
            try image.forEachFileRange(of: range) { (source, piece) throws(Found) in
                guard case .file(let index, let offset) = source,
                    let data = devices[index].nextData(in: ByteRange(offset: offset, length: piece.length))
                else { return }
                throw Found(range: ByteRange(offset: piece.offset + data.offset - offset, length: data.length))
            }
            return nil
        } catch {
            return error.range
        }
    }

    /// Writes `bytes` at `offset`; a write that touches a run without a file fails before anything is written.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        let range = ByteRange(offset: offset, length: bytes.count)
        try checkRange(range, operation: "write")
        try image.forEachFileRange(of: range) { (source, piece) throws(StorageError) in
            guard source != .zero else {
                throw StorageError(.readOnly, operation: "write", device: name, range: piece)
            }
        }
        try image.forEachFileRange(of: range) { (source, piece) throws(StorageError) in
            guard case .file(let index, let fileOffset) = source else { return }
            let start = piece.offset - offset
            try devices[index].write(
                UnsafeRawBufferPointer(rebasing: bytes[start..<start + piece.length]), at: fileOffset)
        }
    }

    /// Flushes every file that holds bytes of the disk.
    public func flush() throws(StorageError) {
        for (file, device) in zip(image.files, devices) where file.role == .extent {
            try device.flush()
        }
    }
}

extension VirtualDisk {
    /// Opens the files of `image`; the descriptor, which holds no byte of the disk, for reading only.
    public static func open(
        _ image: DiskImage, access: FileDevice.Access, mode: FileDevice.Mode
    ) throws(StorageError) -> VirtualDisk {
        var devices: [any BlockDevice] = []
        for file in image.files {
            let isExtent = file.role == .extent
            devices.append(
                try FileDevice(
                    location: file.location, access: isExtent ? access : .readOnly, mode: isExtent ? mode : .buffered,
                    name: file.path))
        }
        return VirtualDisk(image: image, devices: devices)
    }
}
