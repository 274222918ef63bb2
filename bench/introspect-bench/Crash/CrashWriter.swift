import Glibc
import Synchronization
import TestBed

/// What all clients of a round share.
final class CrashTraffic: Sendable {
    let image: PromisedImage
    let server: CrashServer.Ports
    let export: String
    /// The name under which the file is found at the start.
    let name: String
    private let ending = Atomic<Bool>(false)
    private let shutdowns = Atomic<Int>(0)

    init(image: PromisedImage, server: CrashServer.Ports, export: String, name: String) {
        self.image = image
        self.server = server
        self.export = export
        self.name = name
    }

    /// Whether clients finish; a connection that breaks from then on is as it should be.
    var isEnding: Bool { ending.load(ordering: .acquiring) }

    func end() { ending.store(true, ordering: .releasing) }

    /// A count that changes before and after a file system is shut down, to be asked for before a call.
    var shutdownCount: Int { shutdowns.load(ordering: .acquiring) }

    /// Whether no file system was being shut down since the count was `before`. What was under way then is not held
    /// against the server whatever it answers: ext4's fsync can find the transaction that it waits for gone, and return
    /// 0.
    func isUndisturbed(since before: Int) -> Bool { before.isMultiple(of: 2) && shutdownCount == before }

    /// Shuts a file system down by `body`.
    func whileShuttingDown(_ body: () throws -> Void) rethrows {
        shutdowns.add(1, ordering: .acquiringAndReleasing)
        defer { shutdowns.add(1, ordering: .acquiringAndReleasing) }
        try body()
    }

    /// A client, and the file's handle; nil when the server does not answer as it should.
    func connect() throws(NFSClientError) -> (CrashClient, [UInt8])? {
        let client = try CrashClient(export, port: server.nfs, mountPort: server.mount)
        guard case .done(let file) = try client.lookup(name) else { return nil }
        return (client, file)
    }
}

/// A client that writes to blocks of its own, and reads them: stably, or unstably with COMMITs.
///
/// `@unchecked Sendable`: one thread runs it, and its results are looked at afterwards.
final class CrashWriter: @unchecked Sendable {
    /// Blocks that a WRITE takes at most.
    static let mostBlocks = 16

    /// What was found in READs.
    private(set) var finding = Finding()
    /// Bytes of WRITEs that were acknowledged.
    private(set) var acknowledgedBytes = 0
    /// Calls that were answered with an error.
    private(set) var refusals = 0
    /// What a client must never meet, in words.
    private(set) var failure: String?

    private let traffic: CrashTraffic
    private let runs: [Range<Int>]
    private let isCalm: Bool
    private var generator: SeededGenerator
    private let buffer = UnsafeMutableRawBufferPointer.allocate(
        byteCount: mostBlocks * StampedBlocks.size, alignment: 4096)
    private var client: CrashClient
    private var file: [UInt8]
    private var uncommitted: [(range: Range<Int>, version: UInt32, verifier: UInt64)] = []

    /// - Parameters:
    ///   - runs: the blocks that are written, in runs of at most ``mostBlocks``; nobody else writes to them.
    ///   - isCalm: whether it writes single blocks stably, and does nothing else.
    init(_ traffic: CrashTraffic, runs: [Range<Int>], isCalm: Bool, seed: UInt64) throws {
        self.traffic = traffic
        self.runs = runs
        self.isCalm = isCalm
        generator = SeededGenerator(seed: seed)
        guard let (client, file) = try traffic.connect() else {
            throw TestBedError("the server does not have \(traffic.name)")
        }
        self.client = client
        self.file = file
    }

    deinit {
        buffer.deallocate()
    }

    /// Writes and reads until the traffic ends or the server does.
    func run() {
        while !traffic.isEnding {
            do throws(NFSClientError) {
                try step()
            } catch {
                guard !traffic.isEnding else { return }
                if error == .noAnswer {
                    failure = "a client waited \(CrashClient.patience) s for an answer"
                    return
                }
                // A server may close connections in distress; it has gone if it takes no new one.
                usleep(20_000)
                guard let again = try? traffic.connect() else { return }
                (client, file) = again
            }
        }
    }

    private func step() throws(NFSClientError) {
        switch isCalm ? 0 : Int.random(in: 0..<100, using: &generator) {
        case 0..<45: try write(count: 1, isStable: true)
        case 45..<60: try write(count: .random(in: 2...Self.mostBlocks, using: &generator), isStable: true)
        case 60..<85: try write(count: .random(in: 1...Self.mostBlocks, using: &generator), isStable: false)
        case 85..<93: try commit()
        default: try read()
        }
    }

    /// Some blocks, at most so many; half of the time of the first few runs, so that blocks are written again soon.
    private func place(_ count: Int) -> Range<Int> {
        let isHot = Bool.random(using: &generator)
        let run = runs[Int.random(in: 0..<(isHot ? min(4, runs.count) : runs.count), using: &generator)]
        let count = min(count, run.count)
        let first = Int.random(in: run.lowerBound...run.upperBound - count, using: &generator)
        return first..<first + count
    }

    private func write(count: Int, isStable: Bool) throws(NFSClientError) {
        let range = place(count)
        let version = traffic.image.nextVersion()
        for (index, block) in range.enumerated() {
            let start = index * StampedBlocks.size
            traffic.image.stamps.fill(
                UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + StampedBlocks.size]), block: block,
                version: version)
        }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<(range.count * StampedBlocks.size)])
        let shutdowns = traffic.shutdownCount
        traffic.image.issue(version, to: range)
        let answer = try client.write(file, at: range.lowerBound * StampedBlocks.size, bytes, isStable: isStable)
        guard case .done(let written) = answer else { return refused() }
        // Of a block that was written in part nothing is known.
        let done = range.lowerBound..<range.lowerBound + min(range.count, written.count / StampedBlocks.size)
        acknowledgedBytes += done.count * StampedBlocks.size
        if isStable, !written.isStable { failure = "a FILE_SYNC WRITE was answered as unstable" }
        guard traffic.isUndisturbed(since: shutdowns) else { return }
        traffic.image.acknowledge(version, of: done, isStable: written.isStable)
        if !written.isStable { uncommitted.append((done, version, written.verifier)) }
    }

    /// What was written under another verifier than the COMMIT's may be gone: nothing is promised of it.
    private func commit() throws(NFSClientError) {
        let shutdowns = traffic.shutdownCount
        guard case .done(let verifier) = try client.commit(file) else { return refused() }
        guard traffic.isUndisturbed(since: shutdowns) else { return }
        for write in uncommitted where write.verifier == verifier {
            traffic.image.settle(write.version, of: write.range)
        }
        uncommitted = []
    }

    private func read() throws(NFSClientError) {
        let range = place(.random(in: 1...Self.mostBlocks, using: &generator))
        let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(range.count * StampedBlocks.size)])
        let answer = try client.read(file, at: range.lowerBound * StampedBlocks.size, into: bytes)
        guard case .done(let count) = answer else { return refused() }
        guard count == bytes.count else {
            failure = "a READ of \(bytes.count) bytes within the file gave \(count)"
            return
        }
        finding += traffic.image.check(
            UnsafeRawBufferPointer(bytes), from: range.lowerBound, isLive: true, "a READ among WRITEs")
    }

    private func refused() {
        refusals += 1
        // Who asks at once again keeps the server from coming round.
        usleep(5_000)
    }
}
