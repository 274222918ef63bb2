import Console

/// The charts of the page.
struct Charts {
    let results: Results

    /// A bar of each group: the paper's, which has no server, and one for each server.
    private static let bars: [(server: ServerKind?, name: String, color: String)] = [
        (nil, "paper", "#b8b8b8"), (.off, "off", "#d1495b"), (.ganesha, "NFS-Ganesha", "#edae49"),
        (.cache, "RAM cache alone", "#a3c9a8"), (.ssd, "SSD log alone", "#69a297"), (.ours, "on", "#2e7d5b"),
        (.floor, "floor", "#66a0d8"),
    ]

    private static func color(of server: ServerKind) -> String {
        bars.first { $0.server == server }?.color ?? "#222"
    }

    // MARK: - Figure 2

    /// For each workload of the paper's figure that was measured its time, with introspection off as 100 percent.
    var figure: String {
        let margin = Drawing.margin
        let (width, height) = (960.0, 420.0)
        var drawing = Drawing(width: Int(width), height: Int(height))
        let groups = Workload.figure.map { Case($0) }.compactMap { measured in
            results.seconds(measured, .off).map { (measured.workload, heights(measured, off: $0.median)) }
        }
        let shown = Self.bars.indices.filter { bar in groups.contains { $0.1.contains { $0.bar == bar } } }
        drawing.legend(shown.map { (Self.bars[$0].name, Self.bars[$0].color) }, x: margin.left, y: 22)
        // What takes longer than this is cut off, and its number tells.
        let top = min(2, 1.1 * max(1, groups.flatMap { $0.1.map(\.part) }.max() ?? 1))
        let plot = height - margin.top - margin.bottom
        let y = { (part: Double) in margin.top + plot * (1 - min(part, top) / top) }
        for step in 0...Int(top / 0.2) {
            let part = Double(step) * 0.2
            drawing.line([(margin.left, y(part)), (width - margin.right, y(part))], color: "#ddd", width: 1)
            drawing.text("\(step * 20) %", x: margin.left - 6, y: y(part) + 4, anchor: .end)
        }
        let groupWidth = (width - margin.left - margin.right) / Double(max(1, groups.count))
        let barWidth = min(24, groupWidth * 0.86 / Double(Self.bars.count))
        for (number, (workload, bars)) in groups.enumerated() {
            let center = margin.left + groupWidth * (Double(number) + 0.5)
            var x = center - barWidth * Double(bars.count) / 2
            for (bar, part) in bars {
                drawing.rectangle(
                    x: x, y: y(part), width: barWidth - 2, height: y(0) - y(part), color: Self.bars[bar].color)
                drawing.text(
                    Self.short(part), x: x + barWidth / 2 - 1, y: y(part) - 3, size: 9, anchor: .middle)
                x += barWidth
            }
            drawing.text(workload.rawValue, x: center, y: height - 18, anchor: .middle)
        }
        return drawing.document
    }

    /// In percent, with a decimal place where one digit would say little.
    private static func short(_ part: Double) -> String {
        part < 0.0995 ? percent(part) : "\(Int((part * 100).rounded()))"
    }

    /// The bars that a group has, in the order of the legend.
    private func heights(_ measured: Case, off: Double) -> [(bar: Int, part: Double)] {
        Self.bars.indices.compactMap { bar in
            let part =
                if let server = Self.bars[bar].server {
                    results.seconds(measured, server).map { $0.median / max(off, 1e-6) }
                } else {
                    measured.workload.savedInPaper.map { 1 - Double($0) / 100 }
                }
            return part.map { (bar, $0) }
        }
    }

    // MARK: - rm over time

    /// What the disk did and what the cache had, over the time of `rm`; nil when that was not watched.
    var removal: String? {
        let runs = [ServerKind.off, .ours].compactMap { server in
            results.watched.last { $0.identity.server == server && $0.identity.measured == Case(.rm) }
                .map { record in
                    let start = RunRecord.Sample(seconds: 0, busy: 0, hits: 0, misses: 0)
                    return (
                        samples: [start] + (record.samples ?? []), color: Self.color(of: server),
                        name: "introspection \(server.title): \(decimal(record.seconds)) s"
                    )
                }
        }
        guard let end = runs.compactMap(\.samples.last?.seconds).max(), end > 0 else { return nil }
        let (width, panel) = (960.0, 200.0)
        var drawing = Drawing(width: Int(width), height: Int(panel * 2))
        drawing.legend(runs.map { ($0.name, $0.color) }, x: Drawing.margin.left, y: 22)
        let panels: [(title: String, top: Double, value: (RunRecord.Sample, RunRecord.Sample) -> Double?)] = [
            ("busy part of the disk's time", 0, { ($1.busy - $0.busy) / max($1.seconds - $0.seconds, 0.001) }),
            ("pages that the server's own cache had", panel, Self.hitRatio),
        ]
        for (title, top, value) in panels {
            let bottom = top + panel - Drawing.margin.bottom + 10
            let height = panel - Drawing.margin.top - Drawing.margin.bottom + 10
            let x = { (seconds: Double) in
                Drawing.margin.left + seconds / end * (width - Drawing.margin.left - Drawing.margin.right)
            }
            for part in [0.0, 0.5, 1.0] {
                let y = bottom - height * part
                drawing.line([(x(0), y), (x(end), y)], color: "#ddd", width: 1)
                drawing.text("\(Int(part * 100)) %", x: x(0) - 6, y: y + 4, anchor: .end)
            }
            for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
                drawing.text(
                    "\(decimal(end * part)) s", x: x(end * part), y: bottom + 16, size: 10,
                    anchor: part == 0 ? .start : part == 1 ? .end : .middle)
            }
            drawing.text(title, x: width - Drawing.margin.right, y: top + 30, anchor: .end)
            for run in runs {
                let points = zip(run.samples, run.samples.dropFirst()).flatMap { earlier, later in
                    value(earlier, later).map { part in
                        [earlier, later].map { (x: x($0.seconds), y: bottom - height * min(1, part)) }
                    } ?? []
                }
                drawing.line(points, color: run.color)
            }
        }
        return drawing.document
    }

    private static func hitRatio(_ earlier: RunRecord.Sample, _ later: RunRecord.Sample) -> Double? {
        let hits = later.hits - earlier.hits
        let pages = hits + later.misses - earlier.misses
        return pages > 0 ? Double(hits) / Double(pages) : nil
    }
}
