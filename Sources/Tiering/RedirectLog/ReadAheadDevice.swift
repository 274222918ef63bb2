import BlockStorage

/// A device that is read from front to back by one thread, in small parts: they come from a window that is read at once.
final class ReadAheadDevice: BlockDevice, @unchecked Sendable {
    private static let windowSize = 4 << 20
    private static let alignment = 4096

    private let device: any BlockDevice
    private let buffer: AlignedBuffer
    private var window = ByteRange(offset: 0, length: 0)

    init(_ device: any BlockDevice) {
        self.device = device
        buffer = AlignedBuffer(count: min(Self.windowSize, device.size))
    }

    var name: String { device.name }
    var size: Int { device.size }

    func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        let range = ByteRange(offset: offset, length: target.count)
        if !window.contains(range) {
            let start = offset / Self.alignment * Self.alignment
            let ahead = ByteRange(offset: start, length: min(buffer.count, size - start))
            guard ahead.contains(range), isFilled(with: ahead) else {
                // What cannot be read near by must not keep what can be from being read.
                return try device.read(into: target, at: offset)
            }
        }
        let start = offset - window.offset
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer.bytes[start..<start + target.count]))
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StorageError) {
        window = ByteRange(offset: 0, length: 0)
        try device.write(bytes, at: offset)
    }

    func flush() throws(StorageError) { try device.flush() }

    private func isFilled(with range: ByteRange) -> Bool {
        window = ByteRange(offset: 0, length: 0)
        do throws(StorageError) {
            try device.read(
                into: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<range.length]), at: range.offset)
        } catch {
            return false
        }
        window = range
        return true
    }
}
