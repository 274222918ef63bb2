import ArgumentParser
import Console
import FoundationEssentials
import HotPaths
import TestBed

/// `introspect-bench classifier`: what introspection adds to a write, by the class of the block.
struct ClassifierCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "classifier",
        abstract: "Measure what it takes to classify, note and digest the write of a block, by class.",
        discussion: """
            Scans an ext3 image that mke2fs fills, then does for blocks of every class what the datastore does for a \
            WRITE of 4 KiB: asks for its class, and takes note of it. What has to be digested is digested from the \
            page cache of this machine; its bytes are as the scan found them.
            """)

    @Option(help: "Measurements of each class; the medians are shown.")
    var rounds = 5

    @Option(help: "Writes of a class in a measurement.")
    var writes = 200_000

    @Option(help: "Keep what was measured in this directory, for the page.")
    var results: String?

    @Flag(help: "Print JSON instead of a table.")
    var json = false

    func validate() throws {
        guard rounds > 0, writes > 0 else { throw ValidationError("rounds and writes are positive") }
    }

    func run() throws {
        let costs = try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let image = try KnownImage(at: KnownImage.make(at: temporary.file("disk.img"), in: temporary))
            return try ClassifierLoad(image: image).costs(rounds: rounds, writes: writes)
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let document = String(decoding: try encoder.encode(costs), as: UTF8.self)
        if let results {
            try TestBed.run("mkdir", "-p", "\(results)/classifier")
            try writeText(document + "\n", to: "\(results)/\(ClassCost.file)")
        }
        say(json ? document : table([ClassCost.heading] + costs.map(\.row)))
    }
}
