import BlockStorage
import TestBed
import Tiering

/// Writes of 4 KiB that a redirect log takes, and makes durable in a file of its own.
final class RedirectedWrites: Sendable {
    private static let size = 64 << 20
    private static let blockSize = 4096
    private static let blocks = 4096

    private let log: RedirectLog
    private let destager: Destager
    private let identity: ImageIdentity

    /// A log in `directory`, and an image beside it.
    init(in directory: String) throws {
        let path = "\(directory)/image"
        try run("truncate", "--size", "\(Self.blocks * Self.blockSize)", path)
        let image = try FileDevice(path: path, access: .readWrite, mode: .buffered)
        log = try RedirectLog(recovering: LogFile(directory: directory, size: Self.size))
        destager = Destager(log: log, openImage: { _ in UnsharedTarget(image) })
        guard let identity = ImageIdentity([1]) else { throw TestBedError("no image is called 1") }
        self.identity = identity
    }

    var path: HotPath {
        HotPath(.redirectedWrite, prepare: { [self] in try destager.pass(sparing: 0) }) { [self] count in
            let buffer = AlignedBuffer(count: Self.blockSize)
            let bytes = UnsafeRawBufferPointer(buffer.bytes)
            for index in 0..<count {
                // Far from its neighbours, as metadata is.
                let offset = (index &* 7919) % Self.blocks * Self.blockSize
                guard try log.write(bytes, to: identity, at: offset, priority: 0, isWanted: true) else {
                    throw TestBedError("the log declined a write")
                }
            }
        }
    }
}
