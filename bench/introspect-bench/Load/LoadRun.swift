import Glibc
import Synchronization
import TestBed

/// What one connection is kept busy with, on a thread of its own.
protocol ConnectionLoad: AnyObject, Sendable {
    /// Calls for `seconds`, and returns when everything is answered.
    func run(seconds: Double) throws(NFSClientError)
    /// How long each call took.
    var latencies: LatencyHistogram { get }
    /// Names that were listed.
    var entries: Int { get }
}

/// The connections of one ``LoadCommand``, from mounting to the sum of what they measured.
struct LoadRun {
    private let options: LoadCommand
    private let connections: [NFSConnection]
    private let file: [UInt8]

    /// The first failure of several threads.
    private final class Failure: Sendable {
        private let first = Mutex<NFSClientError?>(nil)

        func note(_ error: NFSClientError) {
            first.withLock { $0 = $0 ?? error }
        }

        func rethrow() throws(NFSClientError) {
            if let error = first.withLock({ $0 }) { throw error }
        }
    }

    /// Mounts the export and finds the file.
    init(_ options: LoadCommand) throws(NFSClientError) {
        self.options = options
        var connections: [NFSConnection] = []
        for _ in 0..<options.connections {
            connections.append(try NFSConnection(host: options.host, port: options.port))
        }
        self.connections = connections
        file = try Self.handle(
            of: options.file, in: options.export, host: options.host, mountPort: options.mountPort,
            over: connections[0])
    }

    /// Mounts `export` and finds the file `name` in it.
    static func handle(
        of name: String, in export: String, host: String, mountPort: UInt16, over connection: NFSConnection
    ) throws(NFSClientError) -> [UInt8] {
        let root = try NFSConnection(host: host, port: mountPort).call(NFSCalls.mount(export), "MNT \(export)")
        guard let directory = NFSCalls.opaque(root) else { throw NFSClientError("MNT: no handle") }
        let found = try connection.call(NFSCalls.lookup(name, in: directory), "LOOKUP \(name)")
        guard let file = NFSCalls.opaque(found) else { throw NFSClientError("LOOKUP: no handle") }
        return file
    }

    /// Runs to the end.
    func result() throws -> LoadResult {
        let payload = UnsafeMutableRawBufferPointer.allocate(byteCount: options.size.bytes, alignment: 4096)
        defer { payload.deallocate() }
        var generator = SeededGenerator(seed: 1)
        for index in payload.indices { payload[index] = UInt8(truncatingIfNeeded: generator.next()) }
        switch options.operation {
        case .read: try warm(options.span.bytes)
        // A file that clients use is open.
        case .getattr: try warm(min(Self.warmedAtOnce, options.span.bytes))
        default: break
        }
        let loads = connections.enumerated().map { index, connection in
            load(on: connection, seed: UInt64(index + 1), payload: UnsafeRawBufferPointer(payload))
        }

        let serverBefore = try options.serverProcess.map { try ProcessorTime(of: $0) }
        let ownBefore = ProcessorTime.own
        let begin = monotonicNanoseconds()
        try Self.runAll(loads, seconds: options.seconds)
        let elapsed = Double(monotonicNanoseconds() - begin) / 1e9
        let own = ProcessorTime.own - ownBefore
        let server = try options.serverProcess.map { try ProcessorTime(of: $0) }
        // What was written unstably must not reach the disk in the middle of the next measurement.
        if options.operation == .write { _ = try connections[0].call(NFSCalls.commit(file), "COMMIT") }

        var latencies = LatencyHistogram()
        for load in loads { latencies.add(load.latencies) }
        guard latencies.total > 0 else { throw NFSClientError("no call was answered") }
        let used = serverBefore.flatMap { before in server.map { $0 - before } }
        let names = loads.reduce(0) { $0 + $1.entries }
        return LoadResult(
            latencies, operations: options.operation == .readdirplus ? names : latencies.total, seconds: elapsed,
            server: used, own: own)
    }

    /// Runs all at the same time, each on a thread of its own.
    static func runAll(_ loads: [any ConnectionLoad], seconds: Double) throws(NFSClientError) {
        let failure = Failure()
        let threads = loads.map { load in
            Thread.start {
                do throws(NFSClientError) {
                    try load.run(seconds: seconds)
                } catch {
                    failure.note(error)
                }
            }
        }
        for thread in threads { thread.join() }
        try failure.rethrow()
    }

    private static let warmedAtOnce = 64 << 10

    /// Reads `count` bytes once, so that what the server caches is cached.
    private func warm(_ count: Int) throws(NFSClientError) {
        let (start, end) = (options.offset.bytes, options.offset.bytes + count)
        for offset in stride(from: start, to: end, by: Self.warmedAtOnce) {
            let record = NFSCalls.read(file, offset: offset, count: min(Self.warmedAtOnce, end - offset))
            _ = try connections[0].call(record, "READ at \(offset)")
        }
    }

    private func load(
        on connection: NFSConnection, seed: UInt64, payload: UnsafeRawBufferPointer
    ) -> any ConnectionLoad {
        let size = options.size.bytes
        let anywhere = LoadGenerator.Variation.offset(
            position: NFSCalls.offsetOffset(file), base: options.offset.bytes, unit: size,
            count: options.span.bytes / size)
        func calls(
            _ record: [UInt8], _ variation: LoadGenerator.Variation, payload: UnsafeRawBufferPointer? = nil,
            shortestReply: Int = NFSCalls.replyHeaderLength
        ) -> LoadGenerator {
            LoadGenerator(
                connection: connection, record: record,
                payload: payload ?? UnsafeRawBufferPointer(start: nil, count: 0),
                variation: variation, shortestReply: shortestReply, depth: options.depth, seed: seed)
        }
        switch options.operation {
        case .read:
            return calls(
                NFSCalls.read(file, offset: 0, count: size), anywhere,
                shortestReply: NFSCalls.replyHeaderLength + size)
        case .write:
            return calls(NFSCalls.write(file, offset: 0, count: size, isStable: false), anywhere, payload: payload)
        case .writeSync:
            return calls(NFSCalls.write(file, offset: 0, count: size, isStable: true), anywhere, payload: payload)
        case .getattr:
            return calls(NFSCalls.attributes(of: file), .none)
        case .lookup:
            // The name of 11 bytes and one of padding end the record.
            let record = NFSCalls.lookup("entry-00000", in: file)
            return calls(record, .digits(position: record.count - 6, count: max(1, options.names)))
        case .readdirplus:
            return DirectoryLoad(connection: connection, directory: file, expected: options.names)
        }
    }
}
