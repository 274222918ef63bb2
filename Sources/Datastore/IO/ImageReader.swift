import BlockStorage
import Introspection
import Synchronization

/// How scans and digests read a virtual disk: through the page cache, which keeps what they read.
struct ImageReader: ClassifiedReader {
    /// Bytes between two pieces that cost less to read along than another access.
    private static let largestGap = ScanOptions().gapTolerance

    private final class Failures: Sendable {
        let any = Atomic(false)
    }

    private let session: ImageSession
    private let background: BackgroundWork
    private let failures = Failures()

    init(session: ImageSession, background: BackgroundWork) {
        self.session = session
        self.background = background
    }

    var size: Int { session.image.size }
    var members: [ByteRange] { session.image.members }
    var storedBytes: Int { session.storedBytes }
    /// Whether the image's files could not give something that was read: what was learnt may lack it.
    var hasFailed: Bool { failures.any.load(ordering: .acquiring) }

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        try begin(range)
        try session.image.forEachFileRange(of: range) { (source, part) throws(StorageError) in
            let target = Self.part(part, of: buffer, from: range)
            switch source {
            case .zero:
                target.initializeMemory(as: UInt8.self, repeating: 0)
            case .file(let index, let offset):
                let fileRange = ByteRange(offset: offset, length: part.length)
                try read(session.files[index], fileRange, .all(blockClass), into: target)
            }
        }
    }

    func read(
        _ range: ByteRange, pieces: [ClassifiedRange], into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        try begin(range)
        try session.image.forEachFileRange(of: range) { (source, part) throws(StorageError) in
            let own = pieces.compactMap { piece in
                piece.range.intersection(part).map { ClassifiedRange($0, piece.blockClass) }
            }
            switch source {
            case .zero:
                for piece in own {
                    Self.part(piece.range, of: buffer, from: range).initializeMemory(as: UInt8.self, repeating: 0)
                }
            case .file(let index, let offset):
                let inFile = own.map { piece in
                    ClassifiedRange(
                        ByteRange(offset: offset + piece.range.offset - part.offset, length: piece.range.length),
                        piece.blockClass)
                }
                let target = Self.part(part, of: buffer, from: range)
                try read(inFile, of: session.files[index], from: offset, into: target)
            }
        }
    }

    /// Reads what the cache lacks of `pieces`, those near each other at once; `buffer` starts at `start` of the file.
    private func read(
        _ pieces: [ClassifiedRange], of file: OpenFile, from start: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        func target(_ range: ByteRange) -> UnsafeMutableRawBufferPointer {
            Self.part(range, of: buffer, from: ByteRange(offset: start, length: buffer.count))
        }
        let missing = pieces.filter { !file.readCached($0.range, into: target($0.range)) }
        var first = 0
        for next in missing.indices.map({ $0 + 1 }) {
            let end = missing[next - 1].range.end
            guard next == missing.count || missing[next].range.offset - end > Self.largestGap else { continue }
            let span = ByteRange(offset: missing[first].range.offset, length: end - missing[first].range.offset)
            try read(file, span, .ofPieces(missing[first..<next]), into: target(span))
            first = next
        }
    }

    private func read(
        _ file: OpenFile, _ range: ByteRange, _ kinds: PageKinds, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        do throws(StorageError) {
            try file.read(range, kinds: kinds, into: buffer)
        } catch {
            failures.any.store(true, ordering: .releasing)
            throw error
        }
    }

    /// Checks a range and gives way to clients.
    private func begin(_ range: ByteRange) throws(StorageError) {
        guard range.end <= size else {
            throw StorageError(.outOfRange, operation: "read", device: session.image.path, range: range)
        }
        background.yieldToReaders()
    }

    /// The memory of `range` in `buffer`, which is that of `whole`.
    private static func part(
        _ range: ByteRange, of buffer: UnsafeMutableRawBufferPointer, from whole: ByteRange
    ) -> UnsafeMutableRawBufferPointer {
        let start = range.offset - whole.offset
        return UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + range.length])
    }
}
