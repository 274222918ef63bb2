import BlockStorage
import Foundation
import Glibc
import Logging
import NIOCore
import Synchronization
import TestTools

@testable import Datastore
@testable import Introspection

/// A datastore with a polite tenant's image, in use all the time, and what hostile tenants put beside it.
final class HostileBed: Sendable {
    /// What a round of hostile images cost.
    struct Outcome {
        /// What the polite tenant waited for longest, and what it was.
        var wait = Duration.zero
        var call = ""
        /// What the process took more than before the first round, the cache included, at its most.
        var memory = 0
        /// The longest scan, and whose it was.
        var scan = Duration.zero
        var scanned = ""
        /// The longest that an administrator's commands took for one.
        var commands = Duration.zero
        /// What did not come to an end.
        var unfinished: [String] = []

        var description: String {
            "\(call) waited \(wait), \(memory >> 20) MiB, scan \(scan) (\(scanned)), commands \(commands)"
        }

        /// Takes what is worse in `other`; returns whether anything is.
        mutating func takeWorse(_ other: Self) -> Bool {
            var isWorse = false
            if other.wait > wait { (wait, call, isWorse) = (other.wait, other.call, true) }
            if other.memory > memory { (memory, isWorse) = (other.memory, true) }
            if other.scan > scan { (scan, scanned, isWorse) = (other.scan, other.scanned, true) }
            if other.commands > commands { (commands, isWorse) = (other.commands, true) }
            return isWorse
        }
    }

    static let cacheSize = 16 << 20
    /// How long all images of a round have for a scan, and for a digest.
    private static let patience = Duration.seconds(240)

    private let export: String
    private let datastore: Datastore
    private let root: DatastoreHandle
    private let polite: PoliteTenant
    private let baseline: Int

    /// - Parameter directory: an empty one, in which `export` is a file system that takes sparse files of any size.
    init(in directory: String) throws {
        export = "\(directory)/export"
        try runTool("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "\(export)/polite.img", "64M"])
        var configuration = DatastoreConfiguration(
            exports: [.init(path: export)], stateDirectory: "\(directory)/state")
        configuration.cacheSize = Self.cacheSize
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        datastore = try Datastore(configuration: configuration, logger: logger)
        root = try datastore.mount(export, client: .loopback)
        polite = try PoliteTenant(datastore, root, FileName("polite.img"))
        baseline = try ProcessMemory.now()
    }

    func close() {
        polite.stop()
        datastore.close()
    }

    /// Puts `images` into directories of their own, has them scanned and written to and looked into, all at once, and
    /// takes them away.
    ///
    /// - Parameter lookedInto: how many of them an administrator looks into.
    func run(_ images: [HostileImage], lookingInto lookedInto: Int) throws -> Outcome {
        var outcome = Outcome()
        try ProcessMemory.resetPeak()
        _ = polite.takeLongest()
        let tenants = try images.enumerated().map { number, image in
            try HostileTenant(image, in: "tenant\(number)", datastore, root, export)
        }
        let names = images.map(\.name)
        outcome.unfinished += wait(for: tenants, "scan") { $0.isScanned }.map { names[$0] + $1 }
        for round in 0..<(images.map(\.writes.count).max() ?? 0) {
            for (tenant, image) in zip(tenants, images) where round < image.writes.count {
                tenant.write(image.writes[round], isStable: round % 3 == 0)
            }
        }
        let administrator = IOPool(name: "administrator", threadCount: 1)
        let commands = Mutex(Duration.zero)
        administrator.submit { [datastore] in
            for tenant in tenants.prefix(lookedInto) {
                let duration = ContinuousClock().measure { tenant.lookInto() }
                commands.withLock { $0 = max($0, duration) }
            }
            _ = datastore.report()
        }
        outcome.unfinished += wait(for: tenants, "digest") { !$0.isDigesting }.map { names[$0] + $1 }
        administrator.shutDown()
        outcome.commands = commands.withLock { $0 }
        for (number, tenant) in tenants.enumerated() {
            guard let scan = tenant.lastScan, scan > outcome.scan else { continue }
            (outcome.scan, outcome.scanned) = (scan, names[number])
        }
        for tenant in tenants { try tenant.remove() }
        (outcome.wait, outcome.call) = polite.takeLongest()
        outcome.memory = try ProcessMemory.peak() - baseline
        return outcome
    }

    private func wait(
        for tenants: [HostileTenant], _ what: String, _ isDone: (HostileTenant) -> Bool
    ) -> [(Int, String)] {
        let deadline = ContinuousClock.now + Self.patience
        while ContinuousClock.now < deadline {
            if tenants.allSatisfy(isDone) { return [] }
            usleep(20_000)
        }
        return tenants.indices.filter { !isDone(tenants[$0]) }.map { ($0, ": no end of the \(what)") }
    }
}

/// The memory of this process, in bytes.
private enum ProcessMemory {
    static func now() throws -> Int { try value("VmRSS:") }

    /// The most since ``resetPeak()``.
    static func peak() throws -> Int { try value("VmHWM:") }

    static func resetPeak() throws {
        try "5".write(toFile: "/proc/self/clear_refs", atomically: false, encoding: .utf8)
    }

    private static func value(_ name: String) throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix(name) }
        let number = line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
        guard let number else { throw ToolFailure(description: "no \(name) in /proc/self/status") }
        return number << 10
    }
}
