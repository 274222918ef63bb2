import BlockStorage
import Introspection

/// How scans and digests read a virtual disk: through the page cache, which keeps what they read.
struct ImageReader: ClassifiedReader {
    private let session: ImageSession
    private let background: BackgroundWork

    init(session: ImageSession, background: BackgroundWork) {
        self.session = session
        self.background = background
    }

    var size: Int { session.image.size }
    var members: [ByteRange] { session.image.members }

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        guard range.end <= size else {
            throw StorageError(.outOfRange, operation: "read", device: session.image.path, range: range)
        }
        background.yieldToClients()
        try session.image.forEachFileRange(of: range) { (source, part) throws(StorageError) in
            let start = part.offset - range.offset
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + part.length])
            switch source {
            case .zero:
                target.initializeMemory(as: UInt8.self, repeating: 0)
            case .file(let index, let offset):
                let fileRange = ByteRange(offset: offset, length: part.length)
                try session.files[index].read(fileRange, kinds: .all(blockClass), into: target)
            }
        }
    }
}
