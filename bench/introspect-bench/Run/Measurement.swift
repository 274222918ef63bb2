import FoundationEssentials
import Glibc
import TestBed

/// One workload against one server, from a fresh and cold state of everything.
struct Measurement {
    let stand: RunStand
    let identity: RunRecord.Identity
    /// Whether disk and cache are looked at while the workload runs, which takes time from it.
    let isWatched: Bool

    private static let timeLimit = 3600.0
    /// Seconds between two looks.
    private static let watchInterval = 0.25

    private var measured: Case { identity.measured }
    private var kind: ServerKind { identity.server }

    func run() throws -> RunRecord {
        do {
            return try Bed.with { bed in
                try stand.makeCold()
                if kind.isScanner { return try scanByOther(bed) }
                let asksPortMapper = measured.workload == .boot || measured.workload == .reboot
                if kind == .ganesha || asksPortMapper {
                    try stand.network.startPortMapper(logPath: stand.temporary.file("rpcbind.log"), on: bed)
                }
                let server = kind.make(
                    serving: stand.directory(of: measured.set), log: stand.logDirectory, cache: stand.parameters.cache,
                    registers: asksPortMapper, network: stand.network, in: stand.temporary, bed: bed)
                return switch measured.workload {
                case .scan: try scan(server)
                case .boot: try boot(server)
                case .reboot: try reboot(server)
                default: try work(server, bed)
                }
            }
        } catch {
            stand.discardGuest()
            throw error
        }
    }

    private func emptyRecord() -> RunRecord {
        RunRecord(
            identity: identity, date: Date.now.formatted(.iso8601), seconds: 0, syncSeconds: 0, answer: "",
            disk: DiskStatistics(), requests: [:])
    }

    /// Measures what the server does by itself when it starts.
    private func scan(_ server: any DatastoreServer) throws -> RunRecord {
        guard let server = server as? IntrospectServer else {
            throw TestBedError("\(server.name) does not look into images")
        }
        try begin()
        let before = try stand.disk.statistics()
        try server.start()
        let report = try server.waitUntilIntrospectionRests(images: measured.set.count, upTo: Self.timeLimit)
        var record = emptyRecord()
        record.disk = try stand.disk.statistics().since(before)
        let requests = try end()
        try server.stop()
        note(report, in: &record)
        record.seconds = record.scan?.seconds ?? 0
        record.requests = try stand.countRequests(requests, of: measured)
        if let drive = DiskPreset(rawValue: stand.parameters.preset)?.drive {
            record.scan?.inOrderSeconds = Double(drive.timeInOrder(of: requests)) / 1e9
        }
        return record
    }

    /// What others take to read an image's metadata: the volume is a file, everything is cold.
    private func scanByOther(_ bed: Bed) throws -> RunRecord {
        let guest = try stand.volumesOnDisk(of: measured.set, bed: bed)
        let volume = "'\(guest.volumes)/\(GuestSteps.volume(0))'"
        let root = "'\(guest.directory)/guest0'"
        if kind == .depthFirst {
            let mounting = """
                device=$(losetup --find --show --read-only --direct-io=on \(volume))
                mkdir \(root)
                mount -t ext3 -o ro,noload,inode_readahead_blks=0 $device \(root)
                losetup --detach $device
                filefrag -V 2> '\(guest.directory)/warm'
                """
            _ = try guest.perform(mounting, timeLimit: 60) {}
        }
        try begin()
        let before = try stand.disk.statistics()
        let work =
            kind == .e2image
            ? "e2image -r \(volume) '\(guest.directory)/image'"
            : "find \(root) -type f -print0 | xargs --null filefrag > '\(guest.directory)/places'"
        let start = monotonicNanoseconds()
        _ = try guest.perform(work, timeLimit: Self.timeLimit) {}
        var record = emptyRecord()
        record.seconds = Double(monotonicNanoseconds() - start) / 1e9
        record.disk = try stand.disk.statistics().since(before)
        record.requests = try stand.countRequests(try end(), of: measured)
        return record
    }

    /// Starts the server; what it says when it has looked into all images, nil when it does not look. Afterwards
    /// nothing is in memory but what the server keeps in its own.
    private func start(_ server: any DatastoreServer) throws -> ServerReport? {
        try server.start()
        let introspecting = kind.introspects ? server as? IntrospectServer : nil
        let report = try introspecting?.waitUntilIntrospectionRests(images: measured.set.count, upTo: Self.timeLimit)
        try dropHostCaches()
        return report
    }

    /// Measures from the start of the virtual machines until the last is up; the disk's figures go on until all are
    /// off again.
    private func boot(_ server: any DatastoreServer) throws -> RunRecord {
        let machine = try stand.machine()
        let report = try start(server)
        var record = emptyRecord()
        if let report { note(report, in: &record) }
        let cacheBefore = try (server as? IntrospectServer)?.report().cache
        try begin()
        let diskBefore = try stand.disk.statistics()
        let disks = (0..<measured.set.count).map { server.url(of: ImageSet.file($0)) }
        let boots = try machine.boot(disks: disks, timeLimit: Self.timeLimit)
        record.disk = try stand.disk.statistics().since(diskBefore)
        if let cacheBefore {
            record.cache = try (server as? IntrospectServer)?.report().cache.since(cacheBefore)
        }
        let requests = try end()
        record.seconds = boots.map(\.cold).max() ?? 0
        record.answer = "\(boots.count) up"
        try server.stop()
        record.requests = try stand.countRequests(requests, of: measured)
        return record
    }

    /// Measures from the virtual machine's wish to start again until it is up; the disk takes its time, and its figures
    /// are taken, from that wish until the machine is off.
    private func reboot(_ server: any DatastoreServer) throws -> RunRecord {
        let machine = try stand.machine()
        let report = try start(server)
        var record = emptyRecord()
        if let report { note(report, in: &record) }
        var failure: TestBedError?
        var before: DiskStatistics?
        let boot = try machine.boot(
            disk: server.url(of: ImageSet.file(0)), errand: .reboot, timeLimit: Self.timeLimit
        ) { mark in
            guard mark == DebianImage.rebootMark else { return }
            do throws(TestBedError) {
                try begin()
                before = try stand.disk.statistics()
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        guard let seconds = boot.reboot, let before else { throw TestBedError("the guest did not start again") }
        record.disk = try stand.disk.statistics().since(before)
        let requests = try end()
        record.seconds = seconds
        record.answer = "up again"
        try server.stop()
        record.requests = try stand.countRequests(requests, of: measured)
        return record
    }

    private func work(_ server: any DatastoreServer, _ bed: Bed) throws -> RunRecord {
        let report = try start(server)
        let (guest, steps) = try stand.guest(for: measured, server: server, bed: bed)
        try _ = guest.perform(steps.prepare, timeLimit: 120) { () throws(TestBedError) in try expectRunning(server) }
        var record = emptyRecord()
        if let report { note(report, in: &record) }
        let cacheBefore = try (server as? IntrospectServer)?.report().cache
        try begin()
        let (diskBefore, ssdBefore) = (try stand.disk.statistics(), try stand.ssd?.statistics())
        var watch = Watch(disk: stand.disk, server: server as? IntrospectServer, before: (diskBefore, cacheBefore))
        let lines = try guest.perform(steps.work, timeLimit: Self.timeLimit) { () throws(TestBedError) in
            try expectRunning(server)
            if isWatched { try watch.look(every: Self.watchInterval) }
        }
        record.disk = try stand.disk.statistics().since(diskBefore)
        if kind.redirects, let ssdBefore { record.ssd = try stand.ssd?.statistics().since(ssdBefore) }
        if let cacheBefore {
            record.cache = try (server as? IntrospectServer)?.report().cache.since(cacheBefore)
        }
        record.samples = isWatched ? watch.samples : nil
        let requests = try end()
        try note(lines, in: &record)
        try _ = guest.perform(steps.cleanUp, timeLimit: 300) { () throws(TestBedError) in try expectRunning(server) }
        try server.stop()
        if measured.workload.changesFiles { record.answer += try stand.checkFileSystems(of: measured) }
        record.requests = try stand.countRequests(requests, of: measured)
        return record
    }

    private func begin() throws(TestBedError) {
        guard kind.hasDisk else { return }
        try stand.disk.setTracing(true)
        try stand.setTiming(true)
    }

    private func end() throws(TestBedError) -> [DiskRequest] {
        try stand.setTiming(false)
        return kind.hasDisk ? try stand.disk.trace() : []
    }

    private func expectRunning(_ server: any DatastoreServer) throws(TestBedError) {
        guard !server.isRunning else { return }
        throw TestBedError("\(server.name) died in the run\n\(server.log)")
    }

    private func note(_ report: ServerReport, in record: inout RunRecord) {
        let scans = report.images.compactMap(\.scan)
        record.mapBytes = report.images.map(\.mapMemoryBytes).reduce(0, +)
        var status = stat()
        if let path = try? stand.path(of: measured.set), stat(path, &status) == 0 {
            record.imageBytes = status.st_size * measured.set.count
        }
        record.scan = RunRecord.Scan(
            seconds: scans.map(\.seconds).max() ?? 0, bytesRead: scans.map(\.bytesRead).reduce(0, +),
            reads: scans.map(\.readCount).reduce(0, +))
    }

    private func note(_ lines: [String], in record: inout RunRecord) throws(TestBedError) {
        let times = lines.first { $0.hasPrefix(GuestSteps.timeMark) }?
            .dropFirst(GuestSteps.timeMark.count).split(separator: " ").compactMap { Double($0) }
        guard let times, times.count == 2 else {
            throw TestBedError("the guest tells no time: \(lines.joined(separator: "\n"))")
        }
        record.seconds = times[0] / 1e6
        record.syncSeconds = times[1] / 1e6
        record.answer = lines.filter { $0.hasPrefix(GuestSteps.answerMark) }
            .map { String($0.dropFirst(GuestSteps.answerMark.count)) }.joined(separator: "; ")
    }
}

/// Looks at the disk and the cache from time to time.
private struct Watch {
    let disk: DiskModel
    let server: IntrospectServer?
    let before: (disk: DiskStatistics, cache: ServerReport.Cache?)
    private let start = ContinuousClock.now
    private(set) var samples: [RunRecord.Sample] = []

    init(disk: DiskModel, server: IntrospectServer?, before: (disk: DiskStatistics, cache: ServerReport.Cache?)) {
        self.disk = disk
        self.server = server
        self.before = before
    }

    mutating func look(every interval: Double) throws(TestBedError) {
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        guard seconds - (samples.last?.seconds ?? 0) >= interval else { return }
        let busy = try disk.statistics().since(before.disk).busy.total
        var sample = RunRecord.Sample(seconds: seconds, busy: Double(busy) / 1e9, hits: 0, misses: 0)
        if let server, let earlier = before.cache {
            let cache = try server.report().cache.since(earlier)
            sample.hits = cache.hits.values.reduce(0, +)
            sample.misses = cache.misses.values.reduce(0, +)
        }
        samples.append(sample)
    }
}
