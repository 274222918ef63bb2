import ArgumentParser
import TestBed

/// `introspect-bench report`: the page and its charts, from the results alone.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Write the page with the results of a benchmark, and its charts.",
        discussion: """
            Reads the JSON files that `run` has left in a directory; of several benchmarks in it, the latest counts. \
            Without --page the page goes to standard output, and no charts are written.
            """)

    @Option(help: "Where the results are.")
    var results = "bench/results/scaled"

    @Option(
        help: "Another benchmark's results, as TITLE=DIRECTORY: they get a section of that title. May be repeated.")
    var also: [FurtherResults.Place] = []

    @Option(help: "The page to write; charts go to the directory `results` beside it.")
    var page: String?

    func run() throws {
        guard let results = Results(try RunStore(at: results).all()) else {
            throw ValidationError("there are no results in \(results)")
        }
        let charts = Charts(results: results)
        let text = Page(
            results: results, hasRemovalChart: charts.removal != nil,
            calls: CallFigures(
                records: try MicroRecord.all(in: self.results), classCosts: ClassCost.all(in: self.results)),
            microSection: try MicroReport.markdown(from: self.results),
            further: try also.compactMap { try FurtherResults($0) }
        ).text
        guard let page else { return say(text) }
        let directory = page.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        let chartDirectory = (directory.isEmpty ? "." : directory) + "/results"
        try TestBed.run("mkdir", "-p", chartDirectory)
        try writeText(charts.figure, to: "\(chartDirectory)/\(Page.figureFile)")
        if let removal = charts.removal { try writeText(removal, to: "\(chartDirectory)/\(Page.removalFile)") }
        try writeText(text, to: page)
        say("wrote \(page)")
    }
}
