import ArgumentParser
import Glibc
import TestBed

/// Results of another benchmark that get a section of their own on the page: another size, other guests.
struct FurtherResults {
    /// `TITLE=DIRECTORY`.
    struct Place: ExpressibleByArgument {
        let title: String
        let directory: String

        init?(argument: String) {
            let parts = argument.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { return nil }
            (title, directory) = (String(parts[0]), String(parts[1]))
        }
    }

    let title: String
    let results: Results

    /// Nil when the directory has none.
    init?(_ place: Place) throws(TestBedError) {
        guard access(place.directory, R_OK) == 0, let results = Results(try RunStore(at: place.directory).all()) else {
            return nil
        }
        title = place.title
        self.results = results
    }

    init(title: String, results: Results) {
        self.title = title
        self.results = results
    }

    var section: String {
        let environment = results.environment
        let parameters = results.parameters
        let columns = results.columns
        var table = MarkdownTable(["seconds"] + columns.map(\.title) + ["saved", "times"])
        var requests = MarkdownTable(["requests at the disk, reads + writes"] + columns.map(\.title))
        for measured in results.cases {
            let saving = results.saving(measured)
            table.append(
                [measured.description] + columns.map { results.seconds(measured, $0)?.text ?? "-" }
                    + [saving?.text ?? "-", saving?.timesText ?? "-"])
            requests.append([measured.description] + columns.map { traffic(measured, $0) })
        }
        return """
            ## \(title)

            \(results.records.count) runs, the last at \(results.records.map(\.date).max() ?? ""), of commit \
            `\(environment.commit)`: \(parameters.files) files on a guest disk of \(parameters.size >> 20) MiB, seed \
            \(parameters.seed), disk model `\(parameters.preset)`, \(parameters.cacheTitle). What has fewer than \(Spread.enoughRuns) runs says how \
            many, and is no median to rely on.

            \(table.text)
            \(requests.text)
            """
    }

    private func traffic(_ measured: Case, _ server: ServerKind) -> String {
        let records = results.records(measured, server)
        guard server.hasDisk,
            let reads = Spread(records.map { Double($0.disk.traffic.reads) }),
            let writes = Spread(records.map { Double($0.disk.traffic.writes) })
        else { return "-" }
        return "\(Int(reads.median)) + \(Int(writes.median))"
    }
}
