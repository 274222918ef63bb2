import Glibc
import TestBed

/// This machine's side of a run: it hears the guest's lines, makes everything cold when asked, and takes the counters
/// around each workload.
final class DemoConductor {
    /// The guest asks for cold caches; the workload's name follows.
    static let coldPlease = "@cold "
    /// The name of the file that tells the guest that all is cold begins so.
    static let coldMark = "cold-for-"
    /// The guest has done a workload; name and microseconds follow.
    static let done = "@done "
    /// In place of a workload: the guest checks its file system, which the disk need take no time for.
    static let check = "check"

    private(set) var outcome = DemoOutcome()
    private(set) var failure: (any Error)?

    private let stand: DemoStand
    private let server: IntrospectServer
    private let introspects: Bool
    private var diskBefore = DiskStatistics()
    private var cacheBefore: ServerReport.Cache?

    init(stand: DemoStand, server: IntrospectServer, introspects: Bool) {
        self.stand = stand
        self.server = server
        self.introspects = introspects
    }

    /// A line of the guest's.
    func hear(_ line: String) {
        guard failure == nil else { return }
        do {
            if line.hasPrefix(Self.coldPlease) {
                try makeCold(for: String(line.dropFirst(Self.coldPlease.count)))
            } else if line.hasPrefix(Self.done) {
                try note(line.dropFirst(Self.done.count).split(separator: " "))
            }
        } catch {
            failure = error
            try? server.kill()
        }
    }

    /// Restarts the server and drops this machine's caches; with introspection, lets the scan that follows finish.
    private func makeCold(for name: String) throws {
        try server.stop()
        try stand.disk.setTiming(false)
        try dropHostCaches()
        try stand.disk.setTiming(name != Self.check)
        let before = try stand.disk.statistics()
        try server.start()
        if introspects, name != Self.check {
            let report = try server.waitUntilIntrospectionRests(upTo: 120)
            cacheBefore = report.cache
            outcome.image = report.images.first
            outcome.scanDisk = try stand.disk.statistics().since(before)
        }
        diskBefore = try stand.disk.statistics()
        // Only now does the guest mount the export; the mark costs the disk a write, and nothing that it reads.
        try writeText("", to: "\(server.directory)/\(Self.coldMark)\(name)")
    }

    private func note(_ words: [Substring]) throws {
        guard words.count == 3, let workload = DemoWorkload(rawValue: String(words[0])),
            let duration = Double(words[1]), let syncDuration = Double(words[2])
        else { throw TestBedError("the guest says \(words)") }
        var measurement = DemoMeasurement(seconds: duration / 1e6, syncSeconds: syncDuration / 1e6)
        measurement.disk = try stand.disk.statistics().since(diskBefore)
        if let cacheBefore {
            measurement.cache = try server.report().cache.since(cacheBefore)
        }
        outcome.measurements[workload] = measurement
        stand.progress.say(
            "introspection \(introspects ? "on" : "off"): \(workload.title) took \(decimal(measurement.seconds)) s")
    }
}

/// A number with two decimal places.
func decimal(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let fraction = "\(hundredths % 100)"
    return "\(hundredths / 100)." + (fraction.count < 2 ? "0" : "") + fraction
}
