import ArgumentParser
import Foundation
import TestBed

/// `introspect-bench disturbed-load`: the clients of ``GarbageCommand``, run in the server's network.
struct DisturbedLoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disturbed-load",
        abstract: "Read and write an image at a modest rate while another is filled with garbage.",
        shouldDisplay: false)

    /// What is to be done.
    struct Order: Codable {
        /// Where in an image garbage goes.
        struct Garbage: Codable {
            var image: String
            var offsets: [Int]
        }

        var export: String
        var port: UInt16
        var mountPort: UInt16
        /// The image whose calls are timed.
        var image: String
        var blocks: GuestBlocks
        /// Timed calls a second.
        var rate: Double
        var garbage: Garbage?
        var seconds: Double
        var seed: UInt64
    }

    /// What came of it.
    struct Outcome: Codable {
        var calls: Int
        var medianMicroseconds: Double
        var p99Microseconds: Double
        var p999Microseconds: Double
        /// Writes of garbage a second.
        var garbageRate: Double
    }

    /// WRITEs of garbage that are under way at a time.
    private static let garbageDepth = 32
    private static let randomBytes = 4 << 20

    @Argument(help: "A file with the order, as JSON.")
    var order: String

    func run() throws {
        let order = try JSONDecoder().decode(Order.self, from: Data(contentsOf: URL(fileURLWithPath: order)))
        let paced = try PacedLoad(
            connection: connect(order), file: try find(order.image, order), blocks: order.blocks, rate: order.rate)
        var loads: [any ConnectionLoad] = [paced]
        let payload = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.randomBytes, alignment: 8)
        defer { payload.deallocate() }
        var generator = SeededGenerator(seed: order.seed)
        payload.withMemoryRebound(to: UInt64.self) { words in
            for index in words.indices { words[index] = generator.next() }
        }
        if let garbage = order.garbage {
            let file = try find(garbage.image, order)
            loads.append(
                LoadGenerator(
                    connection: try connect(order),
                    record: NFSCalls.write(file, offset: 0, count: GuestBlocks.size, isStable: false),
                    payload: UnsafeRawBufferPointer(payload),
                    variation: .garbage(
                        position: NFSCalls.offsetOffset(file), offsets: garbage.offsets, size: GuestBlocks.size),
                    shortestReply: NFSCalls.replyHeaderLength, depth: Self.garbageDepth, seed: order.seed))
        }
        let begin = monotonicNanoseconds()
        try LoadRun.runAll(loads, seconds: order.seconds)
        let elapsed = Double(monotonicNanoseconds() - begin) / 1e9
        let outcome = Outcome(
            calls: paced.latencies.total, medianMicroseconds: paced.latencies.percentile(0.5),
            p99Microseconds: paced.latencies.percentile(0.99), p999Microseconds: paced.latencies.percentile(0.999),
            garbageRate: loads.count > 1 ? Double(loads[1].latencies.total) / elapsed : 0)
        print(String(decoding: try JSONEncoder().encode(outcome), as: UTF8.self))
    }

    private func connect(_ order: Order) throws(NFSClientError) -> NFSConnection {
        try NFSConnection(host: NetworkNamespace.serverAddress, port: order.port)
    }

    private func find(_ image: String, _ order: Order) throws(NFSClientError) -> [UInt8] {
        try LoadRun.handle(
            of: image, in: order.export, host: NetworkNamespace.serverAddress, mountPort: order.mountPort,
            over: connect(order))
    }
}
