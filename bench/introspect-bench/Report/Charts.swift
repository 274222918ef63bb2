/// The charts of the page.
struct Charts {
    let results: Results

    private static let colors = (
        paper: "#b8b8b8", off: "#d1495b", on: "#2e7d5b", ganesha: "#edae49", floor: "#66a0d8"
    )

    // MARK: - Figure 2

    /// For each workload of the paper's figure its time, with introspection off as 100 percent.
    var figure: String {
        let bars: [(name: String, color: String)] = [
            ("paper", Self.colors.paper), ("off", Self.colors.off), ("on", Self.colors.on),
            ("NFS-Ganesha", Self.colors.ganesha), ("floor", Self.colors.floor),
        ]
        let margin = Drawing.margin
        let (width, height) = (900.0, 400.0)
        var drawing = Drawing(width: Int(width), height: Int(height))
        drawing.legend(bars, x: margin.left, y: 20)
        let cases = Workload.figure.map { Case($0) }
        let groups = cases.map { measured in heights(measured) }
        let top = max(1.2, groups.flatMap { $0.compactMap { $0 } }.max() ?? 1)
        let plot = height - margin.top - margin.bottom
        let y = { (part: Double) in margin.top + plot * (1 - part / top) }
        for step in 0...Int(top / 0.2) {
            let part = Double(step) * 0.2
            drawing.line([(margin.left, y(part)), (width - margin.right, y(part))], color: "#ddd", width: 1)
            drawing.text("\(step * 20) %", x: margin.left - 6, y: y(part) + 4, anchor: .end)
        }
        let groupWidth = (width - margin.left - margin.right) / Double(max(1, cases.count))
        let barWidth = groupWidth * 0.8 / Double(bars.count)
        for (number, group) in groups.enumerated() {
            let start = margin.left + groupWidth * (Double(number) + 0.1)
            for (bar, part) in group.enumerated() {
                guard let part else { continue }
                let x = start + barWidth * Double(bar)
                drawing.rectangle(
                    x: x, y: y(part), width: barWidth - 2, height: y(0) - y(part), color: bars[bar].color)
                drawing.text(
                    "\(Int((part * 100).rounded()))", x: x + barWidth / 2 - 1, y: y(part) - 3, size: 9,
                    anchor: .middle)
            }
            let center = start + groupWidth * 0.4
            drawing.text(cases[number].workload.rawValue, x: center, y: height - 18, anchor: .middle)
        }
        return drawing.document
    }

    /// Bars of a group, in the order of the legend; nil for what was not measured.
    private func heights(_ measured: Case) -> [Double?] {
        guard let off = results.seconds(measured, .off)?.median, off > 0 else { return [] }
        let paper = measured.workload.savedInPaper.map { 1 - Double($0) / 100 }
        let servers: [ServerKind] = [.off, .ours, .ganesha, .floor]
        return [paper] + servers.map { server in results.seconds(measured, server).map { $0.median / off } }
    }

    // MARK: - rm over time

    /// What the disk did and what the cache had, over the time of `rm`; nil when that was not watched.
    var removal: String? {
        let lines: [(server: ServerKind, color: String)] = [(.off, Self.colors.off), (.ours, Self.colors.on)]
        let runs = lines.compactMap { line in
            results.watched.last { $0.identity.server == line.server && $0.identity.measured == Case(.rm) }
                .map { (samples: $0.samples ?? [], color: line.color, name: line.server.title) }
        }
        guard let end = runs.compactMap(\.samples.last?.seconds).max(), end > 0 else { return nil }
        let (width, panel) = (900.0, 200.0)
        var drawing = Drawing(width: Int(width), height: Int(panel * 2))
        drawing.legend(runs.map { ("introspection \($0.name)", $0.color) }, x: Drawing.margin.left, y: 20)
        let panels: [(title: String, top: Double, value: (RunRecord.Sample, RunRecord.Sample) -> Double?)] = [
            ("disk busy", 0, { ($1.busy - $0.busy) / max($1.seconds - $0.seconds, 0.001) }),
            ("hit ratio", panel, Self.hitRatio),
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
                drawing.text("\(decimal(end * part)) s", x: x(end * part), y: bottom + 16, size: 10, anchor: .middle)
            }
            drawing.text(title, x: width / 2, y: top + 30, anchor: .middle)
            for run in runs {
                let points = zip(run.samples, run.samples.dropFirst()).compactMap { earlier, later in
                    value(earlier, later).map { (x: x(later.seconds), y: bottom - height * min(1, $0)) }
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
