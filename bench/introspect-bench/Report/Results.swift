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
        guard !seconds.isDisturbed, !baseline.seconds.isDisturbed, baseline.seconds.median > 0 else {
            return .disturbed
        }
        return .part(1 - seconds.median / baseline.seconds.median)
    }

    enum Saving {
        case part(Double)
        case disturbed

        var text: String {
            switch self {
            case .part(let part): "\(percent(part)) %"
            case .disturbed: "disturbed"
            }
        }

        /// How many times as fast.
        var timesText: String {
            switch self {
            case .part(let part): part < 1 ? "\(decimal(1 / (1 - part)))×" : "-"
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
