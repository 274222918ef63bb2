import Console

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
    /// Where the time goes of what no case measures.
    var account: String?

    var isMissed: Bool {
        if case .figure(_, isMet: false) = standing { return true }
        return false
    }

    /// All of them, in the design's order.
    static func all(_ results: Results, _ calls: CallFigures = CallFigures()) -> [Target] {
        let savings: [(Workload, Double)] = [
            (.reboot, 0.5), (.du, 0.85), (.stat, 0.85), (.find, 0.85), (.rm, 0.975), (.create, 0.4), (.webserver, 0.6),
        ]
        var targets = savings.map { workload, least in saving(results, Case(workload), least) }
        targets.append(scan(results))
        targets.append(map(results))
        targets += [
            Target(
                what: "the server's CPU for a cached 4 KiB READ, against NFS-Ganesha", goal: "≤ 0.5×",
                standing: calls.ratio(.read, depth: 32, of: .ours, to: .ganesha, \.serverMicroseconds) { $0 <= 0.5 }),
            Target(
                what: "cached 4 KiB READs a second at depth 32, against NFS-Ganesha", goal: "≥ 1.5×",
                standing: calls.ratio(.read, depth: 32, of: .ours, to: .ganesha, \.operationsPerSecond) { $0 >= 1.5 }),
            Target(
                what: "4 KiB FILE_SYNC WRITEs a second, against a local pwrite and fdatasync", goal: "≥ 0.8×",
                standing: calls.ratio(.writeSync, depth: 1, of: .ours, to: .local, \.operationsPerSecond) { $0 >= 0.8 },
                account: calls.accountOfStableWrites),
            Target(
                what: "introspection's own cost on a data WRITE", goal: "≤ 3 % of the CPU",
                standing: calls.costOfIntrospection),
        ]
        return targets
    }

    private static func saving(_ results: Results, _ measured: Case, _ least: Double) -> Target {
        let standing: Standing =
            switch results.saving(measured) {
            case .part(let part, let remark)?: .figure("\(percent(part)) % saved\(remark)", isMet: part >= least)
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
