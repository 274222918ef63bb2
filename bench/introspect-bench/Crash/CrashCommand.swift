import ArgumentParser
import Console
import TestBed

/// What happens to a server and its disks.
enum CrashCampaign: String, CaseIterable, ExpressibleByArgument {
    case kill
    case power
    case store
    case log

    /// Whether disks fail while the server goes on.
    var isLive: Bool { self == .store || self == .log }
}

/// `introspect-bench crash`: what a server has acknowledged, after it was killed, its machine's power cut, its disks
/// failed.
struct CrashCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crash",
        abstract: "Kill servers, cut their power, break their disks, and look for what they acknowledged.",
        discussion: """
            kill: SIGKILL, or SIGTERM, among writes. power: the export and each part of the redirect log lie on a disk \
            of their own that loses what was not flushed, all or part of it. store, log: the disk of the export, or \
            of the redirect log, fails while the server runs: errors, a file system that shuts down, no room. \
            Clients write stamped blocks to an image with a file system, stably and unstably with COMMITs, make it \
            longer and shorter and rename it, while the log is drained, detached and attached. What was acknowledged \
            must then be read through the next server; in the modes off and writethrough, and after a clean stop, in \
            the image file alone. Needs root. The exit status is 1 when anything is missing, and each failure is told \
            with the seed that begins with it: --seed SEED --rounds N runs it again, as far as time allows.
            """)

    /// Lives of a server with one image.
    private static let lives = 5
    /// Lines of a server's log that are told with a failure.
    private static let mostWarnings = 8

    @Argument(help: "The campaigns: kill, power, store, log. (default: all)")
    var campaigns: [CrashCampaign] = []

    @Option(
        parsing: .upToNextOption, help: "The modes: off, writeback, writethrough, mirror, stripe. (default: all)")
    var modes: [CrashMode] = []

    @Option(help: "Ends of a server in each campaign and mode.")
    var rounds = 20

    @Option(help: "What chances are drawn from.")
    var seed: UInt64 = 1

    @Option(help: "Clients that write at a time.")
    var writers = 4

    @Flag(help: "Have disks lie about flushes, so that the campaign `power` must fail.")
    var forgetFlushes = false

    func validate() throws {
        guard rounds > 0, (1...32).contains(writers) else {
            throw ValidationError("rounds are positive, writers 1 to 32")
        }
    }

    func run() throws {
        var rows: [CrashRow] = []
        try Bed.with { bed in
            // A copy of a mount in another's namespace would keep a disk's file system alive.
            try separateMounts()
            let template = try CrashTemplate(in: TemporaryDirectory(on: bed))
            for campaign in campaigns.isEmpty ? CrashCampaign.allCases : campaigns {
                for mode in modes.isEmpty ? CrashMode.allCases : modes where campaign != .log || mode.logs > 0 {
                    rows.append(try run(campaign, mode, template))
                }
            }
        }
        say(table([CrashRow.head] + rows.map(\.cells)))
        guard rows.allSatisfy(\.isGood) else { throw ExitCode.failure }
    }

    private func run(_ campaign: CrashCampaign, _ mode: CrashMode, _ template: CrashTemplate) throws -> CrashRow {
        var row = CrashRow(campaign: campaign, mode: mode)
        var seed = seed
        while row.rounds < rounds {
            try Bed.with { bed in
                let crashCase = try CrashCase(
                    campaign, mode, template, seed: seed, writers: writers, obeysFlushes: !forgetFlushes, on: bed)
                let lives = min(Self.lives, rounds - row.rounds)
                let isGood = (1...lives).allSatisfy { life in
                    row.add(crashCase.live(), "life \(life) of seed \(seed)", counts: true)
                }
                if isGood { row.add(crashCase.finish(), "the end of seed \(seed)", counts: false) }
                if !row.isGood { crashCase.warnings.suffix(Self.mostWarnings).forEach { tell("    \($0)") } }
            }
            seed += 1
        }
        return row
    }
}
