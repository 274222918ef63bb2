import Console
import TestBed

/// The records of one benchmark: the same parameters on the same machine.
struct Results {
    let parameters: RunParameters
    let environment: RunEnvironment
    /// The runs that count for medians.
    let records: [RunRecord]
    let watched: [RunRecord]
    /// Records in the directory that belong to another benchmark.
    let others: Int

    /// Those of `records` that belong together with the latest; nil when there are none.
    init?(_ records: [RunRecord]) {
        guard let latest = records.max(by: { $0.date < $1.date }) else { return nil }
        parameters = latest.identity.parameters
        environment = latest.identity.environment
        let together = records.filter {
            $0.identity.parameters == latest.identity.parameters
                && $0.identity.environment == latest.identity.environment
        }
        self.records = together.filter { $0.samples == nil }
        watched = together.filter { $0.samples != nil }
        others = records.count - together.count
    }

    /// Cases that were measured, in the order of the workloads.
    var cases: [Case] {
        var found: [Case] = []
        for record in records where !found.contains(record.identity.measured) {
            found.append(record.identity.measured)
        }
        let order = Workload.figure + Workload.allCases
        return found.sorted { first, second in
            let places = [first, second].map { order.firstIndex(of: $0.workload) ?? order.count }
            return places[0] != places[1] ? places[0] < places[1] : first.description < second.description
        }
    }

    /// The servers that were measured, in the order of the tables.
    var columns: [ServerKind] {
        [.off, .ganesha, .cache, .ssd, .ours, .floor].filter { server in
            records.contains { $0.identity.server == server }
        }
    }

    func records(_ measured: Case, _ server: ServerKind) -> [RunRecord] {
        records.filter { $0.identity.measured == measured && $0.identity.server == server }
    }

    /// Any figure of the runs of one case with one server.
    func spread(_ measured: Case, _ server: ServerKind, _ figure: (RunRecord) -> Double?) -> Spread? {
        Spread(records(measured, server).compactMap(figure))
    }

    func seconds(_ measured: Case, _ server: ServerKind) -> Spread? {
        spread(measured, server, \.countedSeconds)
    }

    /// The faster of the servers that do not introspect.
    func baseline(_ measured: Case) -> (server: ServerKind, seconds: Spread)? {
        [ServerKind.off, .ganesha].compactMap { server in seconds(measured, server).map { (server, $0) } }
            .min { $0.1.median < $1.1.median }
    }

    /// What introspection saves of the faster of off and NFS-Ganesha, as a part of it; nil without both.
    func saving(_ measured: Case, _ server: ServerKind = .ours) -> Saving? {
        guard let seconds = seconds(measured, server), let baseline = baseline(measured) else { return nil }
        return Saving(of: seconds, against: baseline.seconds)
    }

    enum Saving {
        /// A part of one, and what it is worth: empty, or how few runs it is of.
        case part(Double, remark: String)
        case disturbed

        init(of seconds: Spread, against baseline: Spread) {
            guard !seconds.isDisturbed, !baseline.isDisturbed, baseline.median > 0 else {
                self = .disturbed
                return
            }
            let fewer = seconds.values.count < baseline.values.count ? seconds : baseline
            self = .part(1 - seconds.median / baseline.median, remark: fewer.remark)
        }

        var text: String {
            switch self {
            case .part(let part, let remark): "\(percent(part)) %\(remark)"
            case .disturbed: "disturbed"
            }
        }

        /// How many times as fast.
        var timesText: String {
            switch self {
            case .part(let part, _): part < 1 ? "\(decimal(1 / (1 - part)))×" : "-"
            case .disturbed: "disturbed"
            }
        }
    }
}

/// A part of one in percent, with one decimal place.
func percent(_ part: Double) -> String {
    let tenths = Int((part * 1000).rounded())
    return "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
}
