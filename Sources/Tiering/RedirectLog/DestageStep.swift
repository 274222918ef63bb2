import BlockStorage

/// What is destaged with one flush of an image and one settlement.
final class DestageStep {
    /// What has been copied, in order, neighbours merged.
    private(set) var ranges: [ByteRange] = []
    /// The bytes copied.
    private(set) var byteCount = 0
    /// The end of the log when the first redirect was looked up: what is written later is not in the image, and must
    /// outlive the settlement.
    var horizon = Int.max

    private let image: ImageIdentity
    private let device: any BlockDevice
    private let log: RedirectLog
    /// Whether the log takes note of what is in the image; one that has failed cannot.
    private let settles: Bool
    /// Bytes of neighbours that go to the image in one write.
    private let run: AlignedBuffer
    private var runLength = 0
    private var runOffset = 0

    init(image: ImageIdentity, device: any BlockDevice, log: RedirectLog, settles: Bool) {
        self.image = image
        self.settles = settles
        self.device = device
        self.log = log
        run = AlignedBuffer(count: log.geometry.batchSize)
    }

    /// Adds the bytes of a redirect, unless it is dead by now.
    func add(_ redirect: RedirectIndex.Redirect) throws(StorageError) {
        let length = redirect.range.length
        if redirect.range.offset != runOffset + runLength || runLength + length > run.count { try writeRun() }
        if runLength == 0 { runOffset = redirect.range.offset }
        let target = UnsafeMutableRawBufferPointer(rebasing: run.bytes[runLength..<runLength + length])
        guard try log.read(redirect, of: image, into: target) else { return }
        runLength += length
        byteCount += length
        ranges.appendMerging(redirect.range)
    }

    /// Makes what was added durable in the image, then that durable in the log; the step is empty then.
    func finish() throws(StorageError) {
        try writeRun()
        guard !ranges.isEmpty else { return }
        try device.flush()
        if settles { try log.settle(ranges, of: image, before: horizon) }
        ranges.removeAll(keepingCapacity: true)
        byteCount = 0
        horizon = .max
    }

    private func writeRun() throws(StorageError) {
        guard runLength > 0 else { return }
        let bytes = UnsafeRawBufferPointer(rebasing: run.bytes[..<runLength])
        runLength = 0
        try device.write(bytes, at: runOffset)
    }
}
