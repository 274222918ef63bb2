import Glibc

/// Random READs on one connection at a fixed depth: as soon as an answer comes, the next call goes out.
struct ReadLoad {
    /// What was measured.
    struct Result: Codable {
        let depth: Int
        let readSize: Int
        let readsPerSecond: Double
        let medianMicroseconds: Double
        let p99Microseconds: Double
        /// The server's CPU time for a read, user and system; nil without the server's process number.
        let serverMicrosecondsPerRead: Double?
    }

    let connection: NFSConnection
    let file: [UInt8]
    let fileSize: Int

    /// Mounts `export` and finds `name` in it.
    init(host: String, port: UInt16, mountPort: UInt16, export: String, name: String) throws(NFSClientError) {
        let mount = try NFSConnection(host: host, port: mountPort)
        let root = try Self.call(mount, NFSCalls.mount(export), "MNT \(export)")
        connection = try NFSConnection(host: host, port: port)
        guard let directory = NFSCalls.opaque(root) else { throw NFSClientError("MNT: no handle") }
        let found = try Self.call(connection, NFSCalls.lookup(name, in: directory), "LOOKUP \(name)")
        guard let file = NFSCalls.opaque(found) else { throw NFSClientError("LOOKUP: no handle") }
        self.file = file
        let attributes = try Self.call(connection, NFSCalls.attributes(of: file), "GETATTR \(name)")
        guard attributes.count >= 28 else { throw NFSClientError("GETATTR: too short") }
        fileSize = attributes[20..<28].reduce(0) { $0 << 8 | Int($1) }
    }

    /// Reads the first `span` bytes in order, so that whatever the server caches is cached.
    func warm(span: Int) throws(NFSClientError) {
        for offset in stride(from: 0, to: min(span, fileSize), by: 1 << 20) {
            let read = NFSCalls.read(file, offset: UInt64(offset), count: 1 << 20, transaction: 1)
            _ = try Self.call(connection, read, "READ at \(offset)")
        }
    }

    /// Reads `readSize` bytes at random multiples of it in the first `span` bytes, for `seconds`.
    func run(depth: Int, readSize: Int, span: Int, seconds: Double, serverProcess: Int32?) throws(NFSClientError)
        -> Result
    {
        let places = max(1, min(span, fileSize) / readSize)
        var generator = SystemRandomNumberGenerator()
        var sent = [UInt64](repeating: 0, count: depth)
        func call(_ slot: Int) -> [UInt8] {
            let offset = UInt64(Int.random(in: 0..<places, using: &generator) * readSize)
            sent[slot] = Self.now()
            return NFSCalls.read(file, offset: offset, count: readSize, transaction: UInt32(slot))
        }
        var first: [UInt8] = []
        for slot in 0..<depth { first += call(slot) }
        let cpuBefore = serverProcess.map(Self.processorMicroseconds)
        let begin = Self.now()
        try connection.send(first)
        var latencies: [UInt32] = []
        var outstanding = depth
        var next: [UInt8] = []
        while outstanding > 0 {
            let answer = try connection.receive { reply in
                (slot: Int(NFSCalls.transaction(reply)), isGood: reply.count >= 28 + readSize)
            }
            guard answer.isGood, sent.indices.contains(answer.slot) else {
                throw NFSClientError("READ failed or was short")
            }
            let now = Self.now()
            latencies.append(UInt32(clamping: (now - sent[answer.slot])))
            if Double(now - begin) < seconds * 1e9 {
                next += call(answer.slot)
            } else {
                outstanding -= 1
            }
            if !connection.hasReply, !next.isEmpty {
                try connection.send(next)
                next.removeAll(keepingCapacity: true)
            }
        }
        let elapsed = Double(Self.now() - begin) / 1e9
        let processor = serverProcess.map(Self.processorMicroseconds)
        latencies.sort()
        return Result(
            depth: depth, readSize: readSize, readsPerSecond: Double(latencies.count) / elapsed,
            medianMicroseconds: Double(latencies[latencies.count / 2]) / 1e3,
            p99Microseconds: Double(latencies[latencies.count * 99 / 100]) / 1e3,
            serverMicrosecondsPerRead: cpuBefore.flatMap { before in
                processor.map { ($0 - before) / Double(latencies.count) }
            })
    }

    private static func call(
        _ connection: NFSConnection, _ record: [UInt8], _ name: String
    ) throws(NFSClientError) -> [UInt8] {
        try connection.send(record)
        guard let results = try connection.receive(NFSCalls.results) else {
            throw NFSClientError("\(name): the server refused")
        }
        return results
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// The processor time that a process has used, user and system, all threads.
    private static func processorMicroseconds(_ process: Int32) -> Double {
        var clock = clockid_t()
        var time = timespec()
        guard clock_getcpuclockid(process, &clock) == 0, clock_gettime(clock, &time) == 0 else { return 0 }
        return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
    }
}
