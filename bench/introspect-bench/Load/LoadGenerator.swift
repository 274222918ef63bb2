import Glibc
import TestBed

/// Calls of one kind on one connection at a fixed depth: as soon as an answer comes, the next call goes out.
///
/// What a call needs is allocated before the first one. `@unchecked Sendable`: one thread uses it at a time.
final class LoadGenerator: ConnectionLoad, @unchecked Sendable {
    /// What differs from call to call, chosen at random.
    enum Variation {
        /// Nothing.
        case none
        /// The 64-bit offset at `position` of the record: `base` and a multiple of `unit` below `base + unit * count`.
        case offset(position: Int, base: Int, unit: Int, count: Int)
        /// The 64-bit offset at `position` of the record: any of `offsets`. What is written there are `size` bytes from
        /// anywhere in the payload.
        case garbage(position: Int, offsets: [Int], size: Int)
        /// The five decimal digits at `position` of the record: a number below `count`.
        case digits(position: Int, count: Int)
    }

    private let connection: NFSConnection
    private let recordLength: Int
    private let payload: UnsafeRawBufferPointer
    private let variation: Variation
    private let shortestReply: Int
    private let depth: Int
    private var generator: SeededGenerator
    private var sequence: UInt32 = 0
    /// A record for each call in flight.
    private let records: UnsafeMutableRawBufferPointer
    private let sent: UnsafeMutableBufferPointer<UInt64>
    /// What is to be sent next.
    private let pieces: UnsafeMutableBufferPointer<iovec>
    private var pieceCount = 0
    /// What was measured.
    private(set) var latencies = LatencyHistogram()
    let entries = 0

    /// - Parameters:
    ///   - record: The call, without its payload.
    ///   - payload: What follows each call; padded, and alive as long as the generator.
    ///   - shortestReply: A reply of fewer bytes is a failure.
    ///   - depth: Calls in flight, at most 256.
    init(
        connection: NFSConnection, record: [UInt8], payload: UnsafeRawBufferPointer, variation: Variation,
        shortestReply: Int, depth: Int, seed: UInt64
    ) {
        precondition((1...256).contains(depth))
        self.connection = connection
        self.payload = payload
        self.variation = variation
        self.shortestReply = shortestReply
        self.depth = depth
        generator = SeededGenerator(seed: seed)
        recordLength = record.count
        records = .allocate(byteCount: record.count * depth, alignment: 8)
        for slot in 0..<depth {
            UnsafeMutableRawBufferPointer(rebasing: records[(slot * record.count)...]).copyBytes(from: record)
        }
        sent = .allocate(capacity: depth)
        sent.initialize(repeating: 0)
        pieces = .allocate(capacity: 2 * depth)
        pieces.initialize(repeating: iovec())
    }

    deinit {
        records.deallocate()
        sent.deallocate()
        pieces.deallocate()
    }

    /// Calls for `seconds`, then waits for the answers that are still due.
    func run(seconds: Double) throws(NFSClientError) {
        let begin = monotonicNanoseconds()
        let end = begin + Int(seconds * 1e9)
        for slot in 0..<depth { prepare(slot, at: begin) }
        try sendPrepared()
        var outstanding = depth
        while outstanding > 0 {
            let reply = try connection.receive()
            let slot = Int(reply.transaction & 0xFF)
            guard reply.isSuccess, reply.length >= shortestReply, slot < depth else {
                throw NFSClientError("a call failed: a reply of \(reply.length) bytes, \(shortestReply) expected")
            }
            let now = monotonicNanoseconds()
            latencies.add(UInt64(now) - sent[slot])
            if now < end {
                prepare(slot, at: now)
            } else {
                outstanding -= 1
            }
            if !connection.hasReply { try sendPrepared() }
        }
    }

    private func sendPrepared() throws(NFSClientError) {
        guard pieceCount > 0 else { return }
        try connection.send(UnsafeMutableBufferPointer(rebasing: pieces[..<pieceCount]))
        pieceCount = 0
    }

    private func prepare(_ slot: Int, at now: Int) {
        let record = UnsafeMutableRawBufferPointer(rebasing: records[slot * recordLength..<(slot + 1) * recordLength])
        // A server must not take it for a call that it has answered before.
        sequence &+= 1
        let transaction = sequence << 8 | UInt32(slot)
        record.storeBytes(of: transaction.bigEndian, toByteOffset: NFSCalls.transactionOffset, as: UInt32.self)
        var payload = payload
        switch variation {
        case .none:
            break
        case .garbage(let position, let offsets, let size):
            let offset = UInt64(offsets[random(below: offsets.count)])
            record.storeBytes(of: offset.bigEndian, toByteOffset: position, as: UInt64.self)
            let start = random(below: payload.count - size + 1)
            payload = UnsafeRawBufferPointer(rebasing: payload[start..<start + size])
        case .offset(let position, let base, let unit, let count):
            let offset = UInt64(base + unit * random(below: count))
            record.storeBytes(of: offset.bigEndian, toByteOffset: position, as: UInt64.self)
        case .digits(let position, let count):
            var number = random(below: count)
            for place in (0..<5).reversed() {
                record[position + place] = UInt8(ascii: "0") + UInt8(number % 10)
                number /= 10
            }
        }
        sent[slot] = UInt64(now)
        pieces[pieceCount] = iovec(iov_base: record.baseAddress, iov_len: record.count)
        pieceCount += 1
        guard payload.count > 0 else { return }
        pieces[pieceCount] = iovec(
            iov_base: UnsafeMutableRawPointer(mutating: payload.baseAddress), iov_len: payload.count)
        pieceCount += 1
    }

    private func random(below bound: Int) -> Int {
        Int(truncatingIfNeeded: generator.next().multipliedFullWidth(by: UInt64(bound)).high)
    }
}
