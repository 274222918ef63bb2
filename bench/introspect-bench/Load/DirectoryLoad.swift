import TestBed

/// READDIRPLUS of a whole directory on one connection, again and again.
final class DirectoryLoad: ConnectionLoad, @unchecked Sendable {
    /// The bytes of a reply that the Linux client asks for at most, unless it is told otherwise.
    static let replySize = 32 << 10

    private let connection: NFSConnection
    private let directory: [UInt8]
    private let expected: Int
    /// Of each call.
    private(set) var latencies = LatencyHistogram()
    /// Seen in all listings, without `.` and `..`.
    private(set) var entries = 0

    /// - Parameter expected: The entries that every listing has to show.
    init(connection: NFSConnection, directory: [UInt8], expected: Int) {
        self.connection = connection
        self.directory = directory
        self.expected = expected
    }

    /// Lists until `seconds` have passed, and the listing then begun to its end.
    func run(seconds: Double) throws(NFSClientError) {
        let end = monotonicNanoseconds() + Int(seconds * 1e9)
        repeat {
            let seen = try list()
            guard seen == expected else {
                throw NFSClientError("READDIRPLUS showed \(seen) entries of \(expected)")
            }
            entries += seen
        } while monotonicNanoseconds() < end
    }

    private func list() throws(NFSClientError) -> Int {
        var page = DirectoryPage()
        var seen = 0
        while !page.isLast {
            let begin = monotonicNanoseconds()
            let record = NFSCalls.readDirectory(
                directory, cookie: page.cookie, verifier: page.verifier, count: Self.replySize)
            let results = try connection.call(record, "READDIRPLUS")
            latencies.add(UInt64(monotonicNanoseconds() - begin))
            guard let next = DirectoryPage(results), next.isLast || next.cookie != page.cookie else {
                throw NFSClientError("READDIRPLUS: not a page of a directory")
            }
            page = next
            seen += page.entries
        }
        return seen
    }
}

/// What the results of a READDIRPLUS say, as far as the next one needs it (RFC 1813 section 3.3.17).
private struct DirectoryPage {
    var entries = 0
    var cookie: UInt64 = 0
    var verifier: UInt64 = 0
    var isLast = false

    /// The beginning of a directory.
    init() {}

    init?(_ results: [UInt8]) {
        var offset = 0
        func number(_ count: Int) -> UInt64? {
            guard results.count - offset >= count else { return nil }
            defer { offset += count }
            return results[offset..<offset + count].reduce(0) { $0 << 8 | UInt64($1) }
        }
        func opaque() -> Range<Int>? {
            guard let length = number(4), length <= results.count - offset else { return nil }
            defer { offset += (Int(length) + 3) / 4 * 4 }
            return offset..<offset + Int(length)
        }
        /// Attributes that may be missing take 84 bytes.
        func skipAttributes() -> Bool {
            guard let flag = number(4) else { return false }
            offset += flag == 1 ? 84 : 0
            return true
        }
        guard skipAttributes(), let verifier = number(8) else { return nil }
        self.verifier = verifier
        while let follows = number(4), follows == 1 {
            guard number(8) != nil, let name = opaque(), let cookie = number(8), skipAttributes(),
                let handleFlag = number(4), handleFlag == 0 || opaque() != nil
            else { return nil }
            self.cookie = cookie
            let isDot = results[name].allSatisfy { $0 == UInt8(ascii: ".") } && name.count <= 2
            entries += isDot ? 0 : 1
        }
        guard let end = number(4) else { return nil }
        isLast = end == 1
    }
}
