import Console
import TestBed

/// The page with the results.
struct Page {
    static let figureFile = "figure2.svg"
    static let removalFile = "rm.svg"

    let results: Results
    let hasRemovalChart: Bool
    /// What single kinds of calls cost, and the section that is made of it.
    var calls = CallFigures()
    var microSection = ""
    var further: [FurtherResults] = []

    var text: String {
        let sections = [
            introduction, figure, targets, misses, removal, otherCases, scan,
            further.map(\.section).joined(separator: "\n"), requests, microSection, classifier, method,
        ]
        return sections.filter { !$0.isEmpty }.joined(separator: "\n")
    }

    private var rounds: Int { results.records.map(\.identity.round).max() ?? 0 }

    private var guestTitle: String {
        results.parameters.guest.title
            + (results.parameters.guest == .uml ? " \(results.environment.guestKernel)" : "")
    }

    private var introduction: String {
        let environment = results.environment
        let parameters = results.parameters
        let last = results.records.map(\.date).max() ?? ""
        return """
            # What introspection buys

            Written by `introspect-bench report` from the runs' JSON files; nothing on this page was typed by hand.

            \(results.records.count) runs, the last at \(last), of commit `\(environment.commit)`, on \
            \(environment.cores) cores of \(environment.processor) with \(environment.memory >> 30) GiB, Linux \
            \(environment.kernel); guest: \(guestTitle); NFS-Ganesha \
            \(environment.ganesha); e2fsprogs \(environment.e2fsprogs). Disk model `\(parameters.preset)`, \
            \(parameters.files) files on a guest disk of \(parameters.size >> 20) MiB, seed \(parameters.seed), \
            \(parameters.cacheTitle).

            """
    }

    // MARK: - Figure 2

    private var figure: String {
        var table = MarkdownTable(
            ["seconds in the guest"] + columns.map(\.title) + ["saved", "times", "paper saved"])
        for measured in results.cases where Workload.figure.contains(measured.workload) {
            guard measured == Case(measured.workload) else { continue }
            table.append(row(measured) + [measured.workload.savedInPaper.map { "\($0) %" } ?? "-"])
            if measured.workload.endsDirty {
                table.append(withSync(measured) + [""])
            }
        }
        return """
            ## The paper's Figure 2

            ![Time of each workload, with introspection off as 100 percent](results/\(Self.figureFile))

            Medians of \(rounds) rounds, with the fastest and the slowest; what has fewer than \(Spread.enoughRuns) runs \
            says how many. Everything is cold before each run. *Saved* is \
            against the faster of off and NFS-Ganesha. *Disturbed* stands where the middle half of the runs spreads over \
            more than \(Int(Spread.widestSpread * 100)) % of the median. *On* is everything: the RAM cache, and the redirect \
            log on a `\(results.parameters.ssdPreset)`, for metadata and for data but for streams; *RAM cache alone* has \
            no log, *SSD log alone* takes metadata alone, as the paper did, and has the smallest cache. What only reads is not run with these two, for the log takes only writes. *Floor* is on, with disks \
            that take no time: guest, network and server alone. The paper's figures are its reductions against its own \
            plain server.

            \(table.text)
            """
    }

    private var columns: [ServerKind] { results.columns }

    private func row(_ measured: Case) -> [String] {
        let name = measured == Case(measured.workload) ? measured.workload.title : measured.description
        let times = columns.map { results.seconds(measured, $0)?.text ?? "-" }
        let saving = results.saving(measured)
        return [name] + times + [saving?.text ?? "-", saving?.timesText ?? "-"]
    }

    private func withSync(_ measured: Case) -> [String] {
        let total = { (record: RunRecord) -> Double? in record.seconds + record.syncSeconds }
        let spread = { (server: ServerKind) in results.spread(measured, server, total) }
        return ["… and then `sync`"] + columns.map { spread($0)?.text ?? "-" }
            + Self.saving(on: spread(.ours), of: spread(.off), spread(.ganesha))
    }

    private static func saving(on: Spread?, of off: Spread?, _ ganesha: Spread?) -> [String] {
        guard let on, let baseline = [off, ganesha].compactMap({ $0 }).min(by: { $0.median < $1.median }) else {
            return ["-", "-"]
        }
        let saving = Results.Saving(of: on, against: baseline)
        return [saving.text, saving.timesText]
    }

    // MARK: - Targets

    private var targets: String {
        var table = MarkdownTable(["target", "goal", "measured", "standing"])
        for target in Target.all(results, calls) {
            switch target.standing {
            case .figure(let figure, let isMet):
                table.append([target.what, target.goal, figure, isMet ? "met" : "**not met**"])
            case .disturbed: table.append([target.what, target.goal, "disturbed", "unknown"])
            case .notMeasured(let reason): table.append([target.what, target.goal, "-", reason])
            }
        }
        return """
            ## Where the targets stand

            \(table.text)
            """
    }

    private var misses: String {
        let accounts = Target.all(results, calls).filter(\.isMissed)
            .compactMap { $0.account ?? $0.measured.map(account) }
        guard !accounts.isEmpty else { return "" }
        return "### Where the time of what was missed goes\n\n"
            + accounts.map { "- \($0)\n" }.joined()
    }

    /// What one missed case spends its time on.
    private func account(of measured: Case) -> String {
        let busy = results.spread(measured, .ours) { Double($0.disk.busy.total) / 1e9 }
        let seconds = results.spread(measured, .ours) { $0.seconds + $0.syncSeconds }
        let counts = requestsByClass(measured, .ours)
        let reads = counts.filter { $0.requests.reads > 0 }.map { "\($0.name) \($0.requests.reads)" }
        let writes = counts.filter { $0.requests.writes > 0 }.map { "\($0.name) \($0.requests.writes)" }
        var parts = [
            "**\(measured.workload.title)**: in \(seconds.map { decimal($0.median) } ?? "-") s"
                + (measured.workload.endsDirty || measured.workload.endsWithSync ? ", `sync` included," : "")
                + " the disk was busy for \(busy.map { decimal($0.median) } ?? "-") s."
        ]
        if let floor = results.seconds(measured, .floor), let baseline = results.baseline(measured) {
            let most = percent(1 - floor.median / baseline.seconds.median)
            parts.append("With a disk that takes no time \(most) % would be saved.")
        }
        parts.append("Requests that still reached the disk: reads of \(list(reads)); writes of \(list(writes)).")
        return parts.joined(separator: " ")
    }

    private func list(_ items: [String]) -> String { items.isEmpty ? "nothing" : items.joined(separator: ", ") }

    // MARK: - What reached the disk

    /// Requests by class in the median run, those with the most first.
    private func requestsByClass(
        _ measured: Case, _ server: ServerKind
    ) -> [(name: String, requests: RunRecord.Requests)] {
        let records = results.records(measured, server).sorted { $0.countedSeconds < $1.countedSeconds }
        guard !records.isEmpty else { return [] }
        return records[records.count / 2].requests.map { (name: $0.key, requests: $0.value) }
            .sorted {
                let counts = [$0, $1].map { $0.requests.reads + $0.requests.writes }
                return counts[0] != counts[1] ? counts[0] > counts[1] : $0.name < $1.name
            }
    }

    private var requests: String {
        let cases = results.cases.filter { results.seconds($0, .ours) != nil }
        var text = """
            ## What reached the disk

            Requests of the median run, reads + writes, by the class of their first block; `datastore` is the file \
            system that the images lie on.

            """
        for measured in cases {
            let servers = columns.filter { $0.hasDisk && results.seconds(measured, $0) != nil }
            let byServer = servers.map { requestsByClass(measured, $0) }
            var names: [String] = []
            for counts in byServer {
                for (name, _) in counts where !names.contains(name) { names.append(name) }
            }
            var table = MarkdownTable(["\(measured)"] + servers.map(\.title))
            for name in names {
                let cells = byServer.map { counts in
                    counts.first { $0.name == name }.map { "\($0.requests.reads) + \($0.requests.writes)" } ?? "0"
                }
                table.append([name] + cells)
            }
            if servers.contains(where: { results.spread(measured, $0, \.ssdSeconds) != nil }) {
                table.append(
                    ["SSD: requests, busy"]
                        + servers.map { server in
                            guard let busy = results.spread(measured, server, \.ssdSeconds),
                                let requests = results.spread(
                                    measured, server, { $0.ssd.map { Double($0.traffic.reads + $0.traffic.writes) } })
                            else { return "-" }
                            return "\(Int(requests.median)), \(decimal(busy.median)) s"
                        })
            }
            table.append(
                ["disk busy"]
                    + servers.map { server in
                        let busy = results.spread(measured, server) { Double($0.disk.busy.total) / 1e9 }
                        return busy.map { "\(decimal($0.median)) s" } ?? "-"
                    })
            text += "\n" + table.text
        }
        return text
    }

    // MARK: - The rest

    private var removal: String {
        guard hasRemovalChart else { return "" }
        return """
            ## rm over time

            ![Disk busy and hit ratio of the server's cache during rm](results/\(Self.removalFile))

            From a run of its own, since looking at disk and cache four times a second takes time from it.

            """
    }

    private var otherCases: String {
        let others = results.cases.filter { $0 != Case($0.workload) || !Workload.figure.contains($0.workload) }
            .filter { $0.workload != .scan }
        var text = ""
        if !others.isEmpty {
            var table = MarkdownTable(["seconds"] + columns.map(\.title) + ["saved", "times"])
            for measured in others { table.append(row(measured)) }
            text = """
                ## More guests, neighbours, mail

                `@N` is N guests at once: N images on one server, each under a loop device and an ext3 of its own, in \
                one guest kernel, worked upon at the same time. `+neighbour` is a file on the same server that is \
                streamed past the guest's cache for as long as the work goes on.

                \(table.text)
                """
        }
        return text
    }

    private var scan: String {
        guard let last = results.records(Case(.scan), .ours).last,
            let scan = last.scan
        else { return "" }
        var table = MarkdownTable(["", "runs", "seconds", "requests at the disk", "MB from the disk", "MB/s"])
        for server in [ServerKind.ours, .e2image, .depthFirst] {
            guard let seconds = results.seconds(Case(.scan), server),
                let reads = results.spread(Case(.scan), server, { Double($0.disk.traffic.reads) }),
                let bytes = results.spread(Case(.scan), server, { Double($0.disk.traffic.bytesRead) / 1e6 })
            else { continue }
            table.append([
                server == .ours ? "introspectd" : server.title, "\(seconds.values.count)", seconds.text,
                "\(Int(reads.median))",
                decimal(bytes.median), decimal(bytes.median / seconds.median),
            ])
        }
        return """
            ## Scan

            The scan of the \(results.parameters.size >> 20) MiB image reads \(decimal(Double(scan.bytesRead) / 1e6)) MB in \
            \(scan.reads) reads. The disk alone takes \(decimal(scan.inOrderSeconds ?? 0)) s for the same bytes in order. \
            Beside it, on the same cold disk: `e2image -r` of the volume, and a walk of the mounted file system, depth \
            first and without inode read-ahead, that asks for the blocks of each file, as the paper's prototype did with \
            reads of 4 KiB (it came to 4–6 MB/s).

            \(table.text)
            """
    }

    /// What introspection does for a write, by class.
    private var classifier: String {
        guard !calls.classCosts.isEmpty else { return "" }
        var table = MarkdownTable(ClassCost.heading)
        for cost in calls.classCosts { table.append(cost.row) }
        return """
            ## Classifier

            What `introspect-bench classifier` measures of the write of one block of 4 KiB, alone on a processor: telling \
            its class and taking note of it, before it is answered; and, in the background, reading and comparing what \
            the note is of.

            \(table.text)
            """
    }

    private var guestMethod: String {
        switch results.parameters.guest {
        case .native:
            """
            The guest is this machine's own kernel, since a virtual one without the processor's help would spend more \
            time on its own instructions than on the disk: its root volume is a file that `introspect-bench attach` \
            shows, each request for it becomes one READ, UNSTABLE WRITE or COMMIT on the server, and a loop device \
            with direct I/O stands on it.
            """
        case .uml:
            """
            The guest is a user-mode Linux with its kernel's NFS client, and the image on the mount under a loop \
            device with direct I/O.
            """
        }
    }

    private var wakefulness: String {
        guard results.environment.isWakeful == true else { return "" }
        return """
             This machine's processors are kept awake for every server alike: one that sleeps between two requests, and \
            that a host has to wake, would be measured instead.
            """
    }

    private var method: String {
        let parameters = results.parameters
        let others = results.others == 0 ? "" : " \(results.others) files in the directory are of other benchmarks."
        return """
            ## How it was measured

            The disk is a model that answers after the time that a real one takes (`introspect-bench disk`), with ext4 \
            on it. Guest disks have GPT, LVM and an ext3 that files were written to, six at a time, deleted and made \
            again; they lie on ext4 in \(parameters.pieces) pieces among others, each on its place in every run: before \
            each the disk is put back, to the byte, to what it was. Sizes of files are Filebench's: gamma with shape 1.5 \
            and a mean of 128 KiB, for web and mail server 16 KiB; their contents are zeros. \(guestMethod)\(wakefulness) Server, this \
            machine's caches and the guest's are cold before each run; server and guest start, scan and mount before the \
            disks begin to take time, and the scan is measured by itself. After the scan this machine's caches are \
            emptied once more, so that a server has in memory only what it keeps itself. The guest takes the time. After \
            each run that changes files, the server stops, which empties its log, and e2fsck must find the image itself \
            whole, with as many free inodes as with every other server. `create` makes \
            \(parameters.creations) files of 16 KiB on average in directories of a hundred, from 16 threads, and then \
            syncs, which counts; the web server does \(parameters.requests) loops of ten files read and 16 KiB appended \
            to a log, from 100 threads. What a command prints must be the same with every server.\(others)

            """
    }
}
