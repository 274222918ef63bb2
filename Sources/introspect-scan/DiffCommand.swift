import ArgumentParser
import BlockStorage
import Console
import Introspection

/// `introspect-scan diff`.
struct DiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Says what changed between two images, or between two moments of one.",
        discussion: """
            BEFORE and AFTER are images, or files that `introspect-scan runs` printed. Of two images the bytes are \
            compared, a sector of 512 bytes at a time; of listings, and of an image with a listing, what each byte is and whom it \
            belongs to.

            Exit status: 0 when there is no difference, 3 when there is one; else as for the other commands.
            """)

    @Argument(help: "The image or listing that comes first.", completion: .file())
    var before: String

    @Argument(help: "The image or listing that comes later.", completion: .file())
    var after: String

    @OptionGroup var sectors: SectorSize

    @Flag(name: .long, help: "List each difference: OFFSET LENGTH CLASS-BEFORE CLASS-AFTER OWNER-BEFORE OWNER-AFTER.")
    var runs = false

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    @Flag(name: .long, help: "Show no progress bar.")
    var noProgress = false

    func run() throws {
        let old = try RunListing(before, sectorSize: sectors.bytes, noProgress: noProgress)
        let new = try RunListing(after, sectorSize: sectors.bytes, noProgress: noProgress)
        let difference = try DiskDifference(old, new)
        if json {
            try printJSON(difference)
        } else if runs {
            var output = OutputBuffer()
            difference.runs.forEach { output.append("\($0.line)\n") }
            try output.flush()
        } else {
            try printLine(difference.text)
        }
        if !difference.isEmpty { throw ExitStatus.different }
    }
}

/// What differs between two disks.
struct DiskDifference: Encodable {
    struct Run: Encodable {
        var offset: Int
        var length: Int
        var before: String
        var after: String
        var ownerBefore: UInt64?
        var ownerAfter: UInt64?

        var line: String {
            let owners = [ownerBefore, ownerAfter].map { $0.map { "\($0)" } ?? "-" }.joined(separator: " ")
            return "\(offset) \(length) \(before) \(after) \(owners)"
        }
    }

    /// Whether bytes were compared, or only what they are.
    var comparesBytes: Bool
    var sizeBefore: Int
    var sizeAfter: Int
    var runs: [Run] = []

    /// Compares what both have; a tail that only one has is told by the sizes.
    init(_ before: RunListing, _ after: RunListing) throws {
        sizeBefore = before.size
        sizeAfter = after.size
        let shared = ByteRange(offset: 0, length: min(before.size, after.size))
        if let old = before.disk, let new = after.disk {
            comparesBytes = true
            do throws(StorageError) {
                var comparison = DiskComparison(old, new)
                for range in try comparison.differences(in: shared) {
                    RunListing.forEachPair(before, after, in: range) { append($0, $1) }
                }
            } catch {
                complain("\(error)")
                throw ExitStatus.unreadable
            }
        } else {
            comparesBytes = false
            RunListing.forEachPair(before, after, in: shared) { old, new in
                if old.blockClass != new.blockClass || old.owner != new.owner { append(old, new) }
            }
        }
    }

    var isEmpty: Bool { runs.isEmpty && sizeBefore == sizeAfter }

    private mutating func append(_ old: RunListing.Run, _ new: RunListing.Run) {
        runs.append(
            Run(
                offset: old.range.offset, length: old.range.length, before: old.blockClass.name,
                after: new.blockClass.name, ownerBefore: old.owner, ownerAfter: new.owner))
    }

    /// A table for people.
    var text: String {
        var bytes: [String: Int] = [:]
        for run in runs { bytes["\(run.before) \(run.after)", default: 0] += run.length }
        let total = runs.reduce(0) { $0 + $1.length }
        let subject = comparesBytes ? "Bytes in sectors that differ" : "Bytes whose class or owner differs"
        var lines = ["\(subject): \(total) (\(formatted(bytes: total)))"]
        if sizeBefore != sizeAfter { lines.append("Size: \(sizeBefore) bytes before, \(sizeAfter) after") }
        let rows = bytes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { key, count in
            key.split(separator: " ").map(String.init) + ["\(count)", formatted(bytes: count)]
        }
        if !rows.isEmpty {
            lines.append("\n" + table([["before", "after", "bytes", "size"]] + rows, indentation: "  "))
        }
        return lines.joined(separator: "\n")
    }
}
