import Foundation

/// The results of `introspect-bench micro` as a section of a page.
enum MicroReport {
    /// The section `## Server`, from the records in a directory of results; empty when there are none.
    static func markdown(from results: String) throws -> String {
        let records = try MicroRecord.all(in: results)
        guard let environment = records.max(by: { $0.date < $1.date })?.environment else { return "" }
        let summaries = Dictionary(grouping: records) { Key(cell: $0.cell, server: $0.server) }
            .mapValues { MicroSummary($0.map(\.result)) }
        let servers = MicroRecord.Server.allCases.filter { server in records.contains { $0.server == server } }
        let cells = MicroMatrix.full.filter { cell in records.contains { $0.cell == cell } }

        var text = """
            ## Server

            Single kinds of calls by `introspect-bench micro`, of commit `\(environment.commit)` on \
            \(environment.cores) cores of \(environment.processor), Linux \(environment.kernel), NFS-Ganesha \
            \(environment.ganesha).

            """
        text += """

            Medians of \(summaries.values.map(\.rounds).min() ?? 0) rounds in turn, and half of the range that the \
            middle rounds cover. Processor time is the server's, user and system, for a call (for READDIRPLUS, a name); that of the load \
            generator stands beside it.

            """
        for server in servers where server != .local && server != .ours {
            let section = comparison(cells, summaries, .ours, server)
            if !section.isEmpty { text += "\n### introspectd beside \(server.title)\n\n\(section)" }
        }
        if servers == [.ours] { text += "\n\(alone(cells, summaries))" }
        let durable = durability(cells, summaries)
        if !durable.isEmpty { text += "\n### Durable writes\n\n\(durable)" }
        return text
    }

    private struct Key: Hashable {
        let cell: LoadCell
        let server: MicroRecord.Server
    }

    private static func place(_ cell: LoadCell) -> String {
        cell.connections == 1 ? "\(cell.depth)" : "\(cell.connections) × \(cell.depth)"
    }

    private static func comparison(
        _ cells: [LoadCell], _ summaries: [Key: MicroSummary], _ first: MicroRecord.Server,
        _ second: MicroRecord.Server
    ) -> String {
        var speed = MarkdownTable([
            "call", "in flight", "/s", "beside", "ratio", "p50 µs", "beside", "p99 µs", "beside", "p99.9 µs",
            "beside",
        ])
        var cost = MarkdownTable([
            "call", "in flight", "CPU µs", "user", "system", "beside", "user", "system", "ratio", "load CPU µs",
            "beside",
        ])
        var isEmpty = true
        for cell in cells {
            guard let ours = summaries[Key(cell: cell, server: first)],
                let peer = summaries[Key(cell: cell, server: second)]
            else { continue }
            isEmpty = false
            speed.append([
                cell.title, place(cell), ours.speed, peer.speed, MicroSummary.ratio(ours, peer, \.rate),
                figure(ours.p50), figure(peer.p50), figure(ours.p99), figure(peer.p99), figure(ours.p999),
                figure(peer.p999),
            ])
            cost.append([
                cell.title, place(cell), figure(ours.server?.median ?? 0), figure(ours.user), figure(ours.system),
                figure(peer.server?.median ?? 0), figure(peer.user), figure(peer.system),
                MicroSummary.ratio(ours, peer, \.server), figure(ours.load), figure(peer.load),
            ])
        }
        return isEmpty ? "" : speed.text + "\n" + cost.text
    }

    /// When there is nothing to compare with.
    private static func alone(_ cells: [LoadCell], _ summaries: [Key: MicroSummary]) -> String {
        var table = MarkdownTable([
            "call", "in flight", "/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs", "user", "system", "load CPU µs",
        ])
        for cell in cells {
            guard let ours = summaries[Key(cell: cell, server: .ours)] else { continue }
            table.append([
                cell.title, place(cell), ours.speed, figure(ours.p50), figure(ours.p99), figure(ours.p999),
                figure(ours.server?.median ?? 0), figure(ours.user), figure(ours.system), figure(ours.load),
            ])
        }
        return table.text
    }

    private static func durability(_ cells: [LoadCell], _ summaries: [Key: MicroSummary]) -> String {
        var table = MarkdownTable(["server", "in flight", "writes/s", "p50 µs", "p99 µs", "of pwrite + fdatasync"])
        var isEmpty = true
        for cell in cells {
            guard let local = summaries[Key(cell: cell, server: .local)] else { continue }
            for server in MicroRecord.Server.allCases {
                guard let summary = summaries[Key(cell: cell, server: server)] else { continue }
                isEmpty = false
                table.append([
                    server.title, place(cell), summary.speed, figure(summary.p50), figure(summary.p99),
                    server == .local ? "" : MicroSummary.ratio(summary, local, \.rate),
                ])
            }
        }
        return isEmpty ? "" : table.text
    }

    /// Three digits that count.
    static func figure(_ value: Double) -> String {
        switch value {
        case ..<9.995: String(format: "%.2f", value)
        case ..<99.95: String(format: "%.1f", value)
        default: String(format: "%.0f", value)
        }
    }
}

/// What the rounds of one cell and server come to.
struct MicroSummary {
    let rounds: Int
    /// Operations a second.
    let rate: Spread?
    let p50: Double
    let p99: Double
    let p999: Double
    let server: Spread?
    let user: Double
    let system: Double
    let load: Double

    /// - Parameter results: At least one.
    init(_ results: [LoadResult]) {
        func spread(_ value: (LoadResult) -> Double) -> Spread? { Spread(results.map(value)) }
        func median(_ value: (LoadResult) -> Double) -> Double { spread(value)?.median ?? 0 }
        rounds = results.count
        rate = spread(\.operationsPerSecond)
        p50 = median(\.medianMicroseconds)
        p99 = median(\.p99Microseconds)
        p999 = median(\.p999Microseconds)
        server = Spread(results.compactMap(\.serverMicroseconds))
        user = median { $0.serverUserMicroseconds ?? 0 }
        system = median { $0.serverSystemMicroseconds ?? 0 }
        load = median(\.loadMicroseconds)
    }

    /// The rate and its spread, for people.
    var speed: String {
        guard let rate else { return "-" }
        return "\(MicroReport.figure(rate.median)) ± \(Int((rate.relativeWidth * 50).rounded()))%"
    }

    /// How one stands to another, or that the rounds were too different to say.
    static func ratio(_ first: MicroSummary, _ second: MicroSummary, _ value: (MicroSummary) -> Spread?) -> String {
        guard let above = value(first), let below = value(second), below.median > 0 else { return "-" }
        guard max(above.relativeWidth, below.relativeWidth) <= Spread.widestSpread else { return "disturbed" }
        return String(format: "%.2f", above.median / below.median)
    }
}

extension Spread {
    /// The interquartile range as a part of the median.
    fileprivate var relativeWidth: Double { median > 0 ? interquartileRange / median : 0 }
}
