import Glibc
import TestBed

/// Reads and writes single blocks of an image on one connection, so many a second and one after the other.
///
/// A call that had to wait for the one before it counts from when it was due: what a slow server holds up is not left
/// out. `@unchecked Sendable`: one thread uses it at a time.
final class PacedLoad: ConnectionLoad, @unchecked Sendable {
    /// Metadata blocks that are written back as they are.
    private static let rewrittenBlocks = 256

    private let connection: NFSConnection
    private let file: [UInt8]
    private let blocks: GuestBlocks
    private let interval: Int
    private var generator = SeededGenerator(seed: 1)
    private var sequence: UInt32 = 0
    /// Offsets and contents of metadata.
    private var metadata: [(offset: Int, bytes: [UInt8])] = []
    private(set) var latencies = LatencyHistogram()
    let entries = 0

    /// Calls for `file`, an image with these `blocks`, `rate` a second.
    init(connection: NFSConnection, file: [UInt8], blocks: GuestBlocks, rate: Double) throws(NFSClientError) {
        self.connection = connection
        self.file = file
        self.blocks = blocks
        interval = Int(1e9 / rate)
        for offset in blocks.metadata.prefix(Self.rewrittenBlocks) {
            var bytes = [UInt8](repeating: 0, count: GuestBlocks.size)
            try connection.send(numbered(NFSCalls.read(file, offset: offset, count: bytes.count)))
            let count = try connection.receive { reply in
                bytes.withUnsafeMutableBytes { NFSCalls.copyData(ofRead: reply, to: $0) }
            }
            guard count == bytes.count else { throw NFSClientError("READ at \(offset): the block is not there") }
            metadata.append((offset, bytes))
        }
    }

    /// Calls for `seconds`.
    func run(seconds: Double) throws(NFSClientError) {
        var due = monotonicNanoseconds()
        let end = due + Int(seconds * 1e9)
        while due < end {
            let wait = due - monotonicNanoseconds()
            if wait > 0 { usleep(useconds_t(wait / 1000)) }
            let record = nextCall()
            // That the client wakes late is not the server's doing.
            let begin = wait > 0 ? monotonicNanoseconds() : due
            try connection.send(record)
            guard try connection.receive().isSuccess else { throw NFSClientError("the server refused a call") }
            latencies.add(UInt64(monotonicNanoseconds() - begin))
            due += interval
        }
    }

    /// Of ten calls six read data, two read metadata, one writes data and one writes metadata back.
    private func nextCall() -> [UInt8] {
        switch Int.random(in: 0..<10, using: &generator) {
        case 0..<6: return read(blocks.data.randomElement(using: &generator))
        case 6..<8: return read(blocks.metadata.randomElement(using: &generator))
        case 8:
            let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: sequence), count: GuestBlocks.size)
            return write(bytes, at: blocks.data.randomElement(using: &generator) ?? 0)
        default:
            guard let block = metadata.randomElement(using: &generator) else { return read(0) }
            return write(block.bytes, at: block.offset)
        }
    }

    private func read(_ offset: Int?) -> [UInt8] {
        numbered(NFSCalls.read(file, offset: offset ?? 0, count: GuestBlocks.size))
    }

    private func write(_ bytes: [UInt8], at offset: Int) -> [UInt8] {
        numbered(NFSCalls.write(file, offset: offset, count: bytes.count, isStable: false)) + bytes
    }

    /// A server must not take a call for one that it has answered before.
    private func numbered(_ record: [UInt8]) -> [UInt8] {
        sequence &+= 1
        var record = record
        withUnsafeBytes(of: sequence.bigEndian) {
            record.replaceSubrange(NFSCalls.transactionOffset..<NFSCalls.transactionOffset + 4, with: $0)
        }
        return record
    }
}
