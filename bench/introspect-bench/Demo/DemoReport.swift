import TestBed

/// The demo's tables.
struct DemoReport {
    let guestDisk: GuestDisk
    let off: DemoOutcome
    let on: DemoOutcome

    var text: String {
        [times, diskWork, scan, hits].filter { !$0.isEmpty }.joined(separator: "\n")
    }

    private var times: String {
        var rows = [["", "off", "on", "times", "saved"]]
        for workload in DemoWorkload.allCases {
            guard let off = off.measurements[workload], let on = on.measurements[workload] else { continue }
            rows.append(row(workload.title, off.seconds, on.seconds))
            if workload == .rm { rows.append(row("  and then sync", off.syncSeconds, on.syncSeconds)) }
        }
        return """
            \(guestDisk.files) files in \(guestDisk.directories) directories; seconds in the guest, all caches cold
            \(textTable(rows))

            """
    }

    private var diskWork: String {
        var rows = [["at the disk", "reads off", "on", "writes off", "on", "busy off", "on"]]
        for workload in DemoWorkload.allCases {
            guard let off = off.measurements[workload]?.disk, let on = on.measurements[workload]?.disk else { continue }
            let counts = [off.traffic.reads, on.traffic.reads, off.traffic.writes, on.traffic.writes]
            let busy = [off, on].map { "\(decimal(Double($0.busy.total) / 1e9)) s" }
            rows.append([workload.title] + counts.map(String.init) + busy)
        }
        return textTable(rows) + "\n"
    }

    private func row(_ title: String, _ off: Double, _ on: Double) -> [String] {
        let saved = off > 0 ? "\(Int(((1 - on / off) * 100).rounded())) %" : "-"
        return [title, "\(decimal(off)) s", "\(decimal(on)) s", on > 0 ? "\(decimal(off / on))x" : "-", saved]
    }

    private var scan: String {
        guard let image = on.image, let scan = image.scan else { return "" }
        let share = Double(image.mapMemoryBytes) / Double(max(1, guestDisk.size)) * 100
        return """
            With introspection on, the scan that runs when the server starts took \(decimal(scan.seconds)) s before \
            each of them:
            it read \(decimal(Double(scan.bytesRead) / 1e6)) MB in \(scan.readCount) reads \
            (\(on.scanDisk.traffic.reads) requests at the disk), and its class map takes \
            \(image.mapMemoryBytes >> 10) KiB (\(decimal(share)) % of the image).

            """
    }

    private var hits: String {
        var rows = [["pages from the cache"] + DemoWorkload.allCases.map(\.rawValue)]
        let caches = DemoWorkload.allCases.map { on.measurements[$0]?.cache }
        let classes = Set(caches.compactMap { $0 }.flatMap { Array($0.hits.keys) + Array($0.misses.keys) }).sorted()
        for name in classes {
            rows.append(
                [name]
                    + caches.map { cache in
                        let hits = cache?.hits[name] ?? 0
                        let misses = cache?.misses[name] ?? 0
                        return misses == 0 ? "\(hits)" : "\(hits) of \(hits + misses)"
                    })
        }
        return classes.isEmpty ? "" : textTable(rows) + "\n"
    }
}
