import Glibc
import TestBed

/// A client that asks for a little at fixed times, and counts how late it is answered: a call that has to wait until the
/// one before is answered counts from when it was due.
final class PoliteClient: @unchecked Sendable {
    /// In milliseconds.
    struct Figures: Codable {
        var calls: Int
        var failures: Int
        var p99: Double
        var longest: Double
    }

    private static let interval = 5_000_000
    private static let intervalAnew = 100_000_000

    private let files: AttackFiles
    private let address: String
    private let connectsAnew: Bool
    private var connection: NFSConnection?
    private var times: [Double] = []
    private var failures = 0

    /// - Parameter connectsAnew: whether each call has a connection of its own.
    init(files: AttackFiles, from address: String, connectsAnew: Bool) throws(NFSClientError) {
        self.files = files
        self.address = address
        self.connectsAnew = connectsAnew
        try connect()
    }

    private func connect() throws(NFSClientError) {
        connection = nil
        connection = try NFSConnection(
            host: NetworkNamespace.serverAddress, port: files.port, from: address, patience: 20)
    }

    func run(seconds: Double) {
        let interval = connectsAnew ? Self.intervalAnew : Self.interval
        let calls = [
            NFSCalls.lookup(AttackStand.image, in: files.root), NFSCalls.attributes(of: files.root),
            NFSCalls.read(files.image, offset: 0, count: 4096),
        ]
        let start = monotonicNanoseconds()
        let count = Int(seconds * 1e9) / interval
        for number in 0..<count {
            let due = start + number * interval
            let now = monotonicNanoseconds()
            if due > now { usleep(useconds_t((due - now) / 1000)) }
            // What is far behind is not made up for: the run has an end.
            guard monotonicNanoseconds() < start + Int(2 * seconds * 1e9) else { break }
            do throws(NFSClientError) {
                if connectsAnew || connection == nil { try connect() }
                _ = try connection?.call(calls[number % calls.count], "a polite call")
            } catch {
                failures += 1
                connection = nil
            }
            times.append(Double(monotonicNanoseconds() - due) / 1e6)
        }
    }

    var figures: Figures {
        let sorted = times.sorted()
        return Figures(
            calls: times.count, failures: failures,
            p99: sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, sorted.count * 99 / 100)], longest: sorted.last ?? 0)
    }
}
