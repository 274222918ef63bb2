import BlockStorage
import Glibc

/// The bytes of a volume, on the disk that holds it.
public struct VolumeDevice: BlockDevice {
    /// Where the bytes are.
    public let volume: Volume
    private let disk: any BlockDevice

    /// The bytes of `volume` on `disk`.
    public init(volume: Volume, disk: any BlockDevice) {
        self.volume = volume
        self.disk = disk
    }

    /// The disk's name and the volume's.
    public var name: String { "\(disk.name): \(volume.name)" }

    /// The size in bytes.
    public var size: Int { volume.size }

    /// Fills `buffer` from `offset`.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        let range = ByteRange(offset: offset, length: buffer.count)
        try checkMapped(range, operation: "read")
        try volume.map.forEachDiskRange(of: range) { (diskRange, volumeOffset) throws(StorageError) in
            let start = volumeOffset - offset
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + diskRange.length])
            try disk.read(into: target, at: diskRange.offset)
        }
    }

    /// Writes `bytes` at `offset`.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        let range = ByteRange(offset: offset, length: bytes.count)
        try checkMapped(range, operation: "write")
        try volume.map.forEachDiskRange(of: range) { (diskRange, volumeOffset) throws(StorageError) in
            let start = volumeOffset - offset
            let source = UnsafeRawBufferPointer(rebasing: bytes[start..<start + diskRange.length])
            try disk.write(source, at: diskRange.offset)
        }
    }

    /// Flushes the disk.
    public func flush() throws(StorageError) {
        try disk.flush()
    }

    /// Throws unless the volume has every byte of `range` and they are all on this disk: `ENXIO` when they are on
    /// another.
    private func checkMapped(_ range: ByteRange, operation: String) throws(StorageError) {
        try checkRange(range, operation: operation)
        guard !volume.isComplete else { return }
        var mapped = 0
        volume.map.forEachDiskRange(of: range) { diskRange, _ in mapped += diskRange.length }
        guard mapped == range.length else {
            throw StorageError(.system(ENXIO), operation: operation, device: name, range: range)
        }
    }
}
