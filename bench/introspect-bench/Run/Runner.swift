import Console
import TestBed

/// The runs of a benchmark, in their order.
struct RunPlan {
    struct Run {
        let identity: RunRecord.Identity
        /// Whether it is looked at over time; it counts for no median.
        var isWatched = false
    }

    private(set) var runs: [Run] = []

    /// Round by round, so that what changes on the machine meets every server alike; each round begins with another
    /// server. At the end `rm` may be watched with introspection off and on.
    init(
        cases: [Case], servers: [ServerKind], rounds: Int, watchesRemoval: Bool = true, parameters: RunParameters,
        environment: RunEnvironment
    ) {
        func run(_ measured: Case, _ server: ServerKind, _ round: Int, isWatched: Bool = false) {
            runs.append(
                Run(
                    identity: RunRecord.Identity(
                        measured: measured, server: server, round: round, parameters: parameters,
                        environment: environment), isWatched: isWatched))
        }
        for round in 1...rounds {
            let first = (round - 1) % servers.count
            for measured in cases {
                for server in servers[first...] + servers[..<first] where server.isOfInterest(for: measured.workload) {
                    run(measured, server, round)
                }
            }
        }
        if watchesRemoval, cases.contains(Case(.rm)) {
            for server in servers where server == .ours || server == .off {
                run(Case(.rm), server, 1, isWatched: true)
            }
        }
    }

    mutating func leaveOut(_ isDone: (Run) -> Bool) {
        runs.removeAll(where: isDone)
    }
}

/// Makes runs and keeps their results.
struct Runner {
    private let stand: RunStand
    private let keep: (RunRecord) throws -> Void

    /// After failures of so many workloads in a row nothing better is to be expected.
    private static let mostFailures = 3

    init(stand: RunStand, keep: @escaping (RunRecord) throws -> Void) {
        self.stand = stand
        self.keep = keep
    }

    /// Makes all runs; one that fails is told and does not stop the others. A result that cannot be kept does.
    ///
    /// - Returns: a line for each failure.
    func run(_ runs: [RunPlan.Run]) throws -> [String] {
        var failures: [String] = []
        var failedInARow: Set<Case> = []
        var answers: [Case: String] = [:]
        for (number, run) in runs.enumerated() {
            let identity = run.identity
            let name = "\(identity.measured) with \(identity.server.rawValue), round \(identity.round)"
            let record: RunRecord
            do {
                record = try Measurement(stand: stand, identity: identity, isWatched: run.isWatched).run()
                try compare(record.answer, with: &answers[identity.measured])
            } catch {
                failures.append("\(name): \(error)")
                stand.progress.say("\(number + 1)/\(runs.count) \(name) FAILED: \(error)")
                failedInARow.insert(identity.measured)
                guard failedInARow.count < Self.mostFailures else { break }
                continue
            }
            failedInARow = []
            try keep(record)
            stand.progress.say("\(number + 1)/\(runs.count) \(name): \(summary(of: record))")
        }
        return failures
    }

    /// The same work on the same files has the same outcome, whatever serves it.
    private func compare(_ answer: String, with expected: inout String?) throws(TestBedError) {
        guard let first = expected else {
            expected = answer
            return
        }
        guard answer == first else { throw TestBedError("the guest found “\(answer)”, in a run before “\(first)”") }
    }

    private func summary(of record: RunRecord) -> String {
        var parts = ["\(decimal(record.seconds)) s"]
        let workload = record.identity.measured.workload
        if workload.endsDirty || workload.endsWithSync { parts.append("sync \(decimal(record.syncSeconds)) s") }
        if record.identity.server.hasDisk {
            parts.append("disk \(record.disk.traffic.reads) reads, \(record.disk.traffic.writes) writes")
        }
        return parts.joined(separator: ", ")
    }
}
