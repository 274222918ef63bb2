import Glibc
import TestBed

/// What comes in between while clients write: the file is made longer and shorter beyond its file system and written
/// there, renamed, the redirect log drained and taken out of use and into use.
///
/// `@unchecked Sendable`: one thread runs it, and its results are looked at afterwards.
final class CrashOddities: @unchecked Sendable {
    /// What a client must never meet, in words.
    private(set) var failure: String?

    private let traffic: CrashTraffic
    private let server: CrashServer
    private let movesLog: Bool
    /// Bytes below which the file never ends.
    private let leastSize: Int
    private var generator: SeededGenerator
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: StampedBlocks.size, alignment: 4096)

    init(_ traffic: CrashTraffic, _ server: CrashServer, movesLog: Bool, leastSize: Int, seed: UInt64) {
        self.traffic = traffic
        self.server = server
        self.movesLog = movesLog
        self.leastSize = leastSize
        generator = SeededGenerator(seed: seed)
    }

    deinit {
        buffer.deallocate()
    }

    /// Does one after the other until the traffic ends or the server does.
    func run() {
        do {
            guard let (client, file) = try traffic.connect() else { return }
            while !traffic.isEnding {
                switch Int.random(in: 0..<20, using: &generator) {
                case 0..<7: try setSize(client, file)
                case 7..<12: try write(client, file)
                case 12..<14: try rename(client)
                case 14..<18 where movesLog: _ = try server.administer("drain")
                case 18 where movesLog: _ = try server.administer("tier", "detach")
                case 19 where movesLog: _ = try server.administer("tier", "attach")
                default: break
                }
                usleep(UInt32.random(in: 1_000...60_000, using: &generator))
            }
        } catch {
            if !traffic.isEnding, error as? NFSClientError == .noAnswer {
                failure = "SETATTR, RENAME or WRITE was not answered within \(CrashClient.patience) s"
            }
        }
    }

    private func setSize(_ client: CrashClient, _ file: [UInt8]) throws {
        let blocks = leastSize / StampedBlocks.size...traffic.image.mostBytes / StampedBlocks.size
        let size = Int.random(in: blocks, using: &generator) * StampedBlocks.size
        let shutdowns = traffic.shutdownCount
        traffic.image.issue(size: size)
        guard case .done = try client.setSize(of: file, to: size), traffic.isUndisturbed(since: shutdowns) else {
            return
        }
        traffic.image.acknowledge(size: size)
    }

    /// Writes a block beyond the guest's file system, at the file's end at the latest.
    private func write(_ client: CrashClient, _ file: [UInt8]) throws {
        guard let size = traffic.image.size else { return try setSize(client, file) }
        let last = min(size, traffic.image.mostBytes - StampedBlocks.size) / StampedBlocks.size
        let block = Int.random(in: leastSize / StampedBlocks.size...last, using: &generator)
        let version = traffic.image.nextVersion()
        traffic.image.stamps.fill(buffer, block: block, version: version)
        let range = block..<block + 1
        let end = max(size, range.upperBound * StampedBlocks.size)
        let shutdowns = traffic.shutdownCount
        traffic.image.issue(version, to: range)
        traffic.image.mayGrow(to: end)
        let answer = try client.write(
            file, at: block * StampedBlocks.size, UnsafeRawBufferPointer(buffer), isStable: true)
        guard case .done(let written) = answer, written.count == StampedBlocks.size,
            traffic.isUndisturbed(since: shutdowns)
        else { return }
        traffic.image.acknowledge(version, of: range, isStable: true)
        traffic.image.hasGrown(to: end)
    }

    private func rename(_ client: CrashClient) throws {
        guard traffic.image.possibleNames.count == 1, let name = traffic.image.possibleNames.first else { return }
        let newName = PromisedImage.names.first { $0 != name } ?? name
        traffic.image.possibleNames.append(newName)
        let shutdowns = traffic.shutdownCount
        guard case .done = try client.rename(name, to: newName), traffic.isUndisturbed(since: shutdowns) else { return }
        traffic.image.possibleNames = [newName]
    }
}
