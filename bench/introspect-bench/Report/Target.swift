/// A line of the design's table of targets, and where it stands.
struct Target {
    enum Standing {
        /// The figure, and whether it is good enough.
        case figure(String, isMet: Bool)
        case disturbed
        case notMeasured(String)
    }

    let what: String
    let goal: String
    let standing: Standing
    /// The case whose requests tell where the time goes.
    var measured: Case?

    var isMissed: Bool {
        if case .figure(_, isMet: false) = standing { return true }
        return false
    }

    /// All of them, in the design's order.
    static func all(_ results: Results) -> [Target] {
        let savings: [(Workload, Double)] = [
            (.boot, 0.5), (.du, 0.85), (.stat, 0.85), (.find, 0.85), (.rm, 0.975), (.create, 0.4), (.webserver, 0.6),
        ]
        var targets = savings.map { workload, least in saving(results, Case(workload), least) }
        targets.append(scan(results))
        targets.append(map(results))
        let elsewhere = Standing.notMeasured("measured by `introspect-bench micro`")
        targets += [
            Target(
                what: "CPU a cached 4 KiB READ, and throughput at depth 32, against NFS-Ganesha",
                goal: "≤ 0.5×, ≥ 1.5×", standing: elsewhere),
            Target(
                what: "4 KiB FILE_SYNC WRITE, against a local pwrite and fdatasync", goal: "≥ 0.8×",
                standing: elsewhere),
            Target(what: "introspection's own cost on a data WRITE", goal: "≤ 3 % of the CPU", standing: elsewhere),
        ]
        return targets
    }

    private static func saving(_ results: Results, _ measured: Case, _ least: Double) -> Target {
        let standing: Standing =
            switch results.saving(measured) {
            case .part(let part)?: .figure("\(percent(part)) % saved", isMet: part >= least)
            case .disturbed?: .disturbed
            case nil: .notMeasured("not part of this run")
            }
        return Target(
            what: measured.workload.title, goal: "≥ \(percent(least)) % saved", standing: standing, measured: measured)
    }

    private static func scan(_ results: Results) -> Target {
        let ratio = results.spread(Case(.scan), .ours) { record in
            guard let scan = record.scan, let inOrder = scan.inOrderSeconds, inOrder > 0 else { return nil }
            return scan.seconds / inOrder
        }
        let standing: Standing =
            switch ratio {
            case let ratio? where ratio.isDisturbed: .disturbed
            case let ratio?: .figure("\(decimal(ratio.median))×", isMet: ratio.median <= 1.5)
            case nil: .notMeasured("not part of this run")
            }
        return Target(
            what: "scan, against the disk's own time for the same bytes in order", goal: "≤ 1.5×",
            standing: standing, measured: Case(.scan))
    }

    private static func map(_ results: Results) -> Target {
        let shares = results.records.filter { $0.identity.server == .ours }.compactMap { record in
            record.mapBytes.flatMap { bytes in record.imageBytes.map { Double(bytes) / Double(max(1, $0)) } }
        }
        let standing: Standing =
            shares.max().map { .figure("\(milli(percentOf: $0)) %", isMet: $0 <= 0.0002) }
            ?? .notMeasured("not part of this run")
        return Target(what: "class map's memory, of the image", goal: "≤ 0.02 %", standing: standing)
    }

    /// A part of one in percent, with three decimal places.
    private static func milli(percentOf part: Double) -> String {
        let thousandths = "\(Int((part * 100_000).rounded()))"
        let padded = String(repeating: "0", count: max(0, 4 - thousandths.count)) + thousandths
        return "\(padded.dropLast(3)).\(padded.suffix(3))"
    }
}
