import ArgumentParser
import Console
import Control
import Datastore
import Glibc

/// `introspectctl top`: what clients ask for at the moment, by image and class.
struct TopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Show live what clients read, by image and class of block, and how much of it the cache had.",
        discussion: """
            Figures are pages a second over the last interval, the busiest image and class first. With --json each \
            interval is one line.
            """)

    @OptionGroup var control: ControlArguments

    @Option(help: "Seconds between two looks.")
    var interval = 2.0

    @Option(help: "End after so many looks; 0 for never.")
    var count = 0

    /// What was counted of a class of an image in an interval, in pages.
    struct Line: Codable {
        var image: String
        var `class`: String
        var hits: Int
        var misses: Int
        var ghostHits: Int
        var evictions: Int
        var resident: Int
    }

    /// One look.
    struct Look: Codable {
        var seconds: Double
        var lines: [Line]
    }

    func validate() throws {
        guard interval >= 0.1, interval <= 3600 else { throw ValidationError("--interval: expected 0.1 to 3600") }
        guard count >= 0 else { throw ValidationError("--count: expected a number of looks") }
    }

    func run() throws {
        var earlier = try control.ask(ControlRequest(.statistics), \.statistics)
        var time = ContinuousClock.now
        var looks = 0
        while count == 0 || looks < count {
            usleep(useconds_t(interval * 1e6))
            let now = try control.ask(ControlRequest(.statistics), \.statistics)
            let seconds = time.duration(to: .now) / .seconds(1)
            time = .now
            try show(Look(seconds: seconds, lines: Self.lines(of: now, since: earlier)), now)
            earlier = now
            looks += 1
        }
    }

    /// Lines with anything counted, the busiest first.
    static func lines(of now: DatastoreReport, since earlier: DatastoreReport) -> [Line] {
        let before = Dictionary(earlier.images.map { ($0.path, $0.cache) }, uniquingKeysWith: { first, _ in first })
        let lines = now.images.flatMap { image in
            let counts = image.cache.since(before[image.path] ?? DatastoreReport.PageCounts())
            return counts.classes.map { name in
                Line(
                    image: image.path, class: name, hits: counts.hits[name, default: 0],
                    misses: counts.misses[name, default: 0], ghostHits: counts.ghostHits[name, default: 0],
                    evictions: counts.evictions[name, default: 0], resident: counts.resident[name, default: 0])
            }
        }
        return lines.filter { $0.hits + $0.misses + $0.evictions > 0 }
            .sorted { ($1.hits + $1.misses, $0.image, $0.class) < ($0.hits + $0.misses, $1.image, $1.class) }
    }

    private func show(_ look: Look, _ report: DatastoreReport) throws {
        guard !control.json else { return try printJSON(look, isOneLine: true) }
        if isatty(STDOUT_FILENO) == 1 { try write("\u{1b}[H\u{1b}[2J") }
        let cached = report.cache.resident.values.reduce(0, +) * report.cache.pageSize
        try say(
            "\(report.images.count) images, \(formatted(bytes: cached)) of \(formatted(bytes: report.cache.bytes)) cached"
        )
        var rows = [["IMAGE", "CLASS", "HITS/s", "MISSES/s", "HIT RATE", "GHOSTS/s", "EVICTED/s", "CACHED"]]
        func rate(_ pages: Int) -> String { decimal(Double(pages) / look.seconds, places: 1) }
        for line in look.lines {
            rows.append([
                line.image, line.class, rate(line.hits), rate(line.misses),
                hitRate(hits: line.hits, misses: line.misses), rate(line.ghostHits), rate(line.evictions),
                formatted(bytes: line.resident * report.cache.pageSize),
            ])
        }
        try say(rows: rows)
    }
}
