import ArgumentParser
import Console
import Control
import Datastore

/// `introspectctl status`: how the server does.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show how the server does: exports, images, cache and redirect log.")

    @OptionGroup var control: ControlArguments

    func run() throws {
        let status = try control.ask(ControlRequest(.status), \.status)
        guard !control.json else { return try printJSON(status) }
        let images = status.images.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        try say(
            "introspectd, process \(status.processIdentifier), up \(decimal(status.uptime, places: 0)) s",
            "exports   \(status.exports.joined(separator: ", "))",
            "images    \(images.isEmpty ? "none" : images.joined(separator: ", "))"
                + (status.introspects ? "" : " (introspection is off)"),
            "cache     \(formatted(bytes: status.cachedBytes)) of \(formatted(bytes: status.cacheBytes))",
            "tier      \(TierTable.line(status.tier))")
    }
}

/// `introspectctl images`: the images and how far introspection has come with each.
struct ImagesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images",
        abstract: "List the images, how far introspection has come with each, and what is wrong.",
        discussion: """
            Images that are refused because of the redirect log, and files that seem to be images of a kind that is not \
            understood, are listed with the reason.
            """)

    @OptionGroup var control: ControlArguments

    func run() throws {
        let report = try control.ask(ControlRequest(.statistics), \.statistics)
        let others = Self.others(report, try control.ask(ControlRequest(.tier), \.tier))
        guard !control.json else {
            return try printJSON(report.images.map(Line.image) + others.map(Line.other))
        }
        guard !report.images.isEmpty || !others.isEmpty else { return try say("no images") }
        var rows = [["IMAGE", "FORMAT", "SIZE", "STATE", "FILE SYSTEMS", "CACHED", "REASON"]]
        for image in report.images {
            let kinds = image.fileSystems.map(\.kind)
            rows.append([
                image.path, image.format, formatted(bytes: image.size), image.state + (image.isBusy ? ", busy" : ""),
                kinds.isEmpty ? "-" : kinds.joined(separator: " "),
                formatted(bytes: image.cache.resident.values.reduce(0, +) * report.cache.pageSize),
                Self.reason(image),
            ])
        }
        rows += others.map { [$0.path, "-", "-", $0.state, "-", "-", $0.reason] }
        try say(rows: rows)
    }
}

extension ImagesCommand {
    /// A file that is served, or not, without being looked into.
    struct Other: Encodable {
        var path: String
        var state: String
        var reason: String
    }

    /// An image in JSON.
    enum Line: Encodable {
        case image(DatastoreReport.Image)
        case other(Other)

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .image(let image): try image.encode(to: encoder)
            case .other(let other): try other.encode(to: encoder)
            }
        }
    }

    static func others(_ report: DatastoreReport, _ tier: TierStatus) -> [Other] {
        let refused = tier.images.filter { $0.isRefused || $0.isOrphaned }.map {
            Other(
                path: $0.path, state: $0.isOrphaned ? "orphaned" : "refused",
                reason: $0.reason ?? "the log has newer blocks of it, see introspectctl tier list")
        }
        return refused
            + (report.foreignImages ?? []).map { Other(path: $0.path, state: "not understood", reason: $0.reason) }
    }

    /// What is wrong with an image, in few words.
    private static func reason(_ image: DatastoreReport.Image) -> String {
        if let reason = image.staleReason { return reason }
        guard let first = image.problems.first else { return "" }
        // Problems begin with the image's path, which the line has already.
        let text = first.hasPrefix("\(image.path): ") ? String(first.dropFirst(image.path.count + 2)) : first
        return text + (image.problems.count > 1 ? " (and \(image.problems.count - 1) more)" : "")
    }
}

/// `introspectctl stats`: everything that is counted.
struct StatisticsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats", abstract: "Show what the cache has counted since the start, by class of block.",
        discussion: "With --json it prints all that the server counts and knows of its images.")

    @OptionGroup var control: ControlArguments

    func run() throws {
        let report = try control.ask(ControlRequest(.statistics), \.statistics)
        guard !control.json else { return try printJSON(report) }
        let cache = report.cache
        try say(
            "cache of \(formatted(bytes: cache.bytes)), of which metadata keeps "
                + "\(formatted(bytes: cache.metadataBytes)) when data wants room")
        var rows = [["CLASS", "HITS", "MISSES", "HIT RATE", "GHOST HITS", "EVICTIONS", "CACHED"]]
        let counts = cache.counts
        for name in counts.classes {
            let (hits, misses) = (counts.hits[name, default: 0], counts.misses[name, default: 0])
            rows.append([
                name, "\(hits)", "\(misses)", hitRate(hits: hits, misses: misses),
                "\(counts.ghostHits[name, default: 0])", "\(counts.evictions[name, default: 0])",
                formatted(bytes: counts.resident[name, default: 0] * cache.pageSize),
            ])
        }
        try say(rows: rows)
    }
}

/// The share of pages that the cache had, for people.
func hitRate(hits: Int, misses: Int) -> String {
    hits + misses == 0 ? "-" : "\(decimal(100 * Double(hits) / Double(hits + misses), places: 1)) %"
}

extension DatastoreReport.PageCounts {
    /// The names of all classes that anything was counted for, sorted.
    var classes: [String] {
        Set([hits, misses, ghostHits, evictions, resident].flatMap(\.keys)).sorted()
    }

    /// What was counted since `earlier`; what is cached is as it is now.
    func since(_ earlier: DatastoreReport.PageCounts) -> DatastoreReport.PageCounts {
        func difference(_ now: [String: Int], _ then: [String: Int]) -> [String: Int] {
            // An image whose files were closed in between begins anew.
            Dictionary(uniqueKeysWithValues: now.map { ($0, max(0, $1 - then[$0, default: 0])) }).filter {
                $0.value > 0
            }
        }
        return DatastoreReport.PageCounts(
            hits: difference(hits, earlier.hits), misses: difference(misses, earlier.misses),
            ghostHits: difference(ghostHits, earlier.ghostHits), evictions: difference(evictions, earlier.evictions),
            resident: resident)
    }
}
