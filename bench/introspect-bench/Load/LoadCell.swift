/// What a server is asked in one measurement: a kind of call, how much of it at a time, and over how many connections.
struct LoadCell: Codable, Hashable {
    /// A kind of call.
    enum Operation: String, Codable, CaseIterable {
        /// READ of bytes that the server has in memory.
        case read
        /// WRITE, UNSTABLE.
        case write
        /// WRITE, FILE_SYNC.
        case writeSync = "write-sync"
        /// GETATTR of one file.
        case getattr
        /// LOOKUP of a random name.
        case lookup
        /// READDIRPLUS of a large directory from beginning to end.
        case readdirplus
    }

    let operation: Operation
    /// Bytes of a READ or WRITE; 0 for others.
    var size = 0
    /// Calls in flight on each connection.
    var depth = 1
    var connections = 1

    /// Names files of results: `read-4k-depth32-connections8`.
    var name: String {
        var words = [operation.rawValue]
        if size > 0 { words.append(sizeName.lowercased()) }
        words.append("depth\(depth)")
        if connections > 1 { words.append("connections\(connections)") }
        return words.joined(separator: "-")
    }

    /// The size for people: `4K`.
    var sizeName: String { size >= 1 << 20 ? "\(size >> 20)M" : "\(size >> 10)K" }

    /// The call for people: `READ 4K`.
    var title: String {
        switch operation {
        case .read: "READ \(sizeName)"
        case .write: "WRITE \(sizeName), UNSTABLE"
        case .writeSync: "WRITE \(sizeName), FILE_SYNC"
        case .getattr: "GETATTR"
        case .lookup: "LOOKUP"
        case .readdirplus: "READDIRPLUS, a name"
        }
    }
}

/// What was measured in one ``LoadCell``.
struct LoadResult: Codable {
    /// Calls that were answered; for READDIRPLUS, names that were listed.
    let operations: Int
    /// How long it took.
    let seconds: Double
    let operationsPerSecond: Double
    /// Of calls.
    let medianMicroseconds: Double
    let p99Microseconds: Double
    let p999Microseconds: Double
    /// The server's processor time for a call; nil when nobody said which process it is.
    let serverUserMicroseconds: Double?
    let serverSystemMicroseconds: Double?
    /// The load generator's own processor time for a call, user and system.
    let loadMicroseconds: Double

    /// - Parameters:
    ///   - latencies: Of each call.
    ///   - server: What the server used.
    ///   - own: What the load generator used.
    init(
        _ latencies: LatencyHistogram, operations: Int, seconds: Double, server: ProcessorTime?, own: ProcessorTime
    ) {
        let count = Double(max(1, operations))
        self.operations = operations
        self.seconds = seconds
        operationsPerSecond = Double(operations) / seconds
        medianMicroseconds = latencies.percentile(0.5)
        p99Microseconds = latencies.percentile(0.99)
        p999Microseconds = latencies.percentile(0.999)
        serverUserMicroseconds = server.map { $0.user / count }
        serverSystemMicroseconds = server.map { $0.system / count }
        loadMicroseconds = (own.user + own.system) / count
    }

    /// The server's processor time for a call, user and system.
    var serverMicroseconds: Double? {
        guard let serverUserMicroseconds, let serverSystemMicroseconds else { return nil }
        return serverUserMicroseconds + serverSystemMicroseconds
    }
}
