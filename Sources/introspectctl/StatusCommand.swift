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
        commandName: "images", abstract: "List the images that introspection follows.")

    @OptionGroup var control: ControlArguments

    func run() throws {
        let report = try control.ask(ControlRequest(.statistics), \.statistics)
        guard !control.json else { return try printJSON(report.images) }
        let refused = try control.ask(ControlRequest(.tier), \.tier).images.filter { $0.isRefused || $0.isOrphaned }
        guard !report.images.isEmpty || !refused.isEmpty else { return try say("no images") }
        var rows = [["IMAGE", "FORMAT", "SIZE", "STATE", "FILE SYSTEMS", "CACHED"]]
        for image in report.images {
            let kinds = image.fileSystems.map(\.kind)
            rows.append([
                image.path, image.format, formatted(bytes: image.size), image.state + (image.isBusy ? ", busy" : ""),
                kinds.isEmpty ? "-" : kinds.joined(separator: " "),
                formatted(bytes: image.cache.resident.values.reduce(0, +) * report.cache.pageSize),
            ])
        }
        for image in refused {
            rows.append([image.path, "-", "-", image.isOrphaned ? "orphaned" : "refused", "-", "-"])
        }
        try say(rows: rows)
        for image in refused {
            if let reason = image.reason { try say("\(image.path): \(reason)") }
        }
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
