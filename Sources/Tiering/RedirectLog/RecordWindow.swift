import BlockStorage

/// A stretch of the log that is read at once, for taking many records out of it.
final class RecordWindow {
    private let ring: LogRing
    private let buffer: AlignedBuffer
    private var start = 0
    private var count = 0

    /// - Parameter span: the bytes of the log between the first position that is read and the last.
    init(_ ring: LogRing, span: Int) {
        self.ring = ring
        let blocks = ring.geometry.roundedUp(span) + 2 * ring.geometry.blockSize
        buffer = AlignedBuffer(count: min(blocks, ring.geometry.longestRecord))
    }

    /// The most bytes between two positions that are read at once.
    var largestStretch: Int { buffer.count - 2 * ring.geometry.blockSize }

    /// Reads what stands from `first` up to and without `end`; nothing is in the window when that fails.
    func read(from first: Int, to end: Int) {
        start = first - first % ring.geometry.blockSize
        count = ring.geometry.roundedUp(end - start)
        do throws(StorageError) {
            try ring.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<count]), at: start, side: 0)
        } catch {
            count = 0
        }
    }

    /// Copies what a redirect stands for to `target`, verified; false when the window does not have it.
    func copy(
        _ redirect: RedirectIndex.Redirect, of image: ImageIdentity, to target: UnsafeMutableRawBufferPointer
    ) -> Bool {
        let offset = redirect.position - start
        guard offset >= 0, offset + LogRecord.headerSize <= count,
            let record = LogRecord(UnsafeRawBufferPointer(rebasing: buffer.bytes[offset..<count])),
            record.isWrite(of: redirect, of: image), offset + record.size <= count
        else { return false }
        let payload = UnsafeRawBufferPointer(
            rebasing: buffer.bytes[offset + LogRecord.headerSize..<offset + LogRecord.headerSize + record.length])
        guard CRC32C.checksum(payload) == record.payloadChecksum else { return false }
        let from = redirect.range.offset - record.offset
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: payload[from..<from + redirect.range.length]))
        return true
    }
}

extension LogRecord {
    /// Whether it is where a redirect says that its bytes are.
    func isWrite(of redirect: RedirectIndex.Redirect, of image: ImageIdentity) -> Bool {
        (kind == .write || kind == .relocation) && position == redirect.position && self.image == image
            && range.contains(redirect.range)
    }
}
