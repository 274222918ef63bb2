import Console
import TestBed

/// The demo's tables.
struct DemoReport {
    static let workloads: [Workload] = [.find, .du, .stat, .rm]
    /// What the demo runs.
    static let cases = ([.scan] + workloads).map { Case($0) }

    let guestDisk: GuestDisk
    let records: [RunRecord]

    var text: String {
        [times, diskWork, scan, hits].filter { !$0.isEmpty }.joined(separator: "\n")
    }

    private func record(_ workload: Workload, _ server: ServerKind) -> RunRecord? {
        records.first { $0.identity.measured.workload == workload && $0.identity.server == server }
    }

    private var times: String {
        var rows = [["", "off", "on", "times", "saved"]]
        for workload in Self.workloads {
            guard let off = record(workload, .off), let on = record(workload, .ours) else { continue }
            rows.append(row(workload.title, off.seconds, on.seconds))
            if workload == .rm { rows.append(row("  and then sync", off.syncSeconds, on.syncSeconds)) }
        }
        return """
            \(guestDisk.files) files in \(guestDisk.directories) directories; seconds in the guest, all caches cold
            \(table(rows))

            """
    }

    private var diskWork: String {
        var rows = [["at the disk", "reads off", "on", "writes off", "on", "busy off", "on"]]
        for workload in Self.workloads {
            guard let off = record(workload, .off)?.disk, let on = record(workload, .ours)?.disk else { continue }
            let counts = [off.traffic.reads, on.traffic.reads, off.traffic.writes, on.traffic.writes]
            let busy = [off, on].map { "\(decimal(Double($0.busy.total) / 1e9)) s" }
            rows.append([workload.title] + counts.map(String.init) + busy)
        }
        return table(rows) + "\n"
    }

    private func row(_ title: String, _ off: Double, _ on: Double) -> [String] {
        let saved = off > 0 ? "\(Int(((1 - on / off) * 100).rounded())) %" : "-"
        return [title, "\(decimal(off)) s", "\(decimal(on)) s", on > 0 ? "\(decimal(off / on))x" : "-", saved]
    }

    private var scan: String {
        guard let record = record(.scan, .ours), let scan = record.scan, let mapBytes = record.mapBytes else {
            return ""
        }
        let share = Double(mapBytes) / Double(max(1, guestDisk.size)) * 100
        return """
            With introspection on the server scans the image when it starts. From the slow disk that takes \
            \(decimal(scan.seconds)) s:
            it reads \(decimal(Double(scan.bytesRead) / 1e6)) MB in \(scan.reads) reads \
            (\(record.disk.traffic.reads) requests at the disk), and its class map takes \(mapBytes >> 10) KiB \
            (\(decimal(share)) % of the image).

            """
    }

    private var hits: String {
        var rows = [["pages from the cache"] + Self.workloads.map(\.rawValue)]
        let caches = Self.workloads.map { record($0, .ours)?.cache }
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
        return classes.isEmpty ? "" : table(rows) + "\n"
    }
}
