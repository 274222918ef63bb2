import CLinux
import Glibc

/// Runs a ``ModelledDisk`` by the clock: what is submitted is answered when the disk would have answered.
///
/// A sleep ends late by what the machine needs to wake a thread. A host that waits for each answer would see that
/// much added to every command, so the next command to arrive after a late answer counts as having arrived that
/// much earlier; the disk's own time never drifts from the times that its parameters give.
final class DiskClock: @unchecked Sendable {
    typealias Answer = @Sendable () -> Void

    /// The longest lateness that is made up for; beyond it the machine was stopped, not late.
    private static let longestLag = 5_000_000

    /// Requests that a trace holds at most; later ones are counted only.
    private static let longestTrace = 4_000_000

    private let monitor = Monitor()
    private let origin = monotonicNanoseconds()
    private let drive: Drive
    private var disk: any ModelledDisk
    private var arrivals: [(command: DiskCommand, time: Int)] = []
    private var answers: [Int: Answer] = [:]
    private var nextIdentifier = 0
    private var lag = 0
    private var isTiming: Bool
    private var isStopping = false
    private var trace: [DiskRequest]?

    init(drive: Drive, isTiming: Bool) {
        self.drive = drive
        disk = drive.disk()
        self.isTiming = isTiming
    }

    /// Whether answers take their time; otherwise they come at once, and nothing is counted.
    func setTiming(_ isOn: Bool) {
        monitor.withLock { isTiming = isOn }
    }

    /// A copy of the disk's counters.
    var statistics: DiskStatistics {
        monitor.withLock { disk.statistics }
    }

    /// A disk at rest with an empty buffer, as after power was switched on; the counters go on.
    func reset() {
        monitor.withLock { disk = drive.disk(statistics: disk.statistics) }
    }

    /// Begins to note the requests that take time, from none; or leaves off and forgets them.
    func setTracing(_ isOn: Bool) {
        monitor.withLock { trace = isOn ? [] : nil }
    }

    /// The requests noted, in the order of their arrival.
    var requests: [DiskRequest] {
        monitor.withLock { trace ?? [] }
    }

    /// Calls `answer`, on whatever thread, when the disk has done the command.
    func submit(_ kind: DiskCommand.Kind, offset: Int = 0, length: Int = 0, answer: @escaping Answer) {
        let isQueued = monitor.withLock {
            guard isTiming else { return false }
            let command = DiskCommand(identifier: nextIdentifier, kind: kind, offset: offset, length: length)
            nextIdentifier += 1
            answers[command.identifier] = answer
            arrivals.append((command, now))
            if let count = trace?.count, count < Self.longestTrace {
                trace?.append(DiskRequest(time: now, kind: kind, offset: offset, length: length))
            }
            monitor.wake()
            return true
        }
        if !isQueued { answer() }
    }

    /// Serves until ``stop()``, on the calling thread.
    func run() {
        linux_set_thread_name("disk-model")
        linux_set_timer_slack(1)
        while let due = waitForAnswers() {
            for (answer, time) in due {
                answer()
                let lateness = now - time
                monitor.withLock { lag = lateness > Self.longestLag ? 0 : lateness }
            }
        }
    }

    /// Ends ``run()``; commands not yet answered stay so.
    func stop() {
        monitor.withLock {
            isStopping = true
            monitor.wake()
        }
    }

    private var now: Int { monotonicNanoseconds() - origin }

    /// The answers that are due, at least one; nil when the disk is stopping.
    private func waitForAnswers() -> [(Answer, Int)]? {
        monitor.withLock {
            while !isStopping {
                for arrival in arrivals {
                    disk.submit(arrival.command, at: arrival.time - lag)
                    lag = 0
                }
                arrivals.removeAll(keepingCapacity: true)
                let due = disk.advance(to: now)
                if !due.isEmpty {
                    return due.compactMap { completion in
                        answers.removeValue(forKey: completion.identifier).map { ($0, completion.time) }
                    }
                }
                monitor.wait(until: disk.nextEvent.map { $0 + origin })
            }
            return nil
        }
    }
}
