import ArgumentParser
import Console
import Control
import Datastore

/// `introspectctl drain`: moves blocks from the redirect log to the images.
struct DrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain",
        abstract: "Move what the redirect log has to the images, and return when it is there durably.",
        discussion: "What guests write meanwhile may be in the log again.")

    @OptionGroup var control: ControlArguments

    @Argument(help: "One image; else all.")
    var image: String?

    func run() throws {
        let tier = try control.ask(ControlRequest(.drain, image: image), \.tier)
        if control.json { try printJSON(tier) } else { try say(TierTable.line(tier)) }
    }
}

/// `introspectctl warm`: reads an image's metadata into the cache.
struct WarmCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warm", abstract: "Read an image's metadata into the cache, as far as there is room for it.",
        discussion: "It takes free room and what data has above its share; metadata that is in use stays.")

    @OptionGroup var control: ControlArguments

    @Argument(help: "The image.")
    var image: String

    func run() throws {
        let warmed = try control.ask(ControlRequest(.warm, image: image), \.warmed)
        guard !control.json else { return try printJSON(warmed) }
        try say(
            "\(warmed.path): \(formatted(bytes: warmed.cachedBytes)) of \(formatted(bytes: warmed.metadataBytes)) of "
                + "metadata are in the cache")
    }
}

/// `introspectctl tier`: the fast device.
struct TierCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tier", abstract: "Look at the redirect log, and take it out of use or into use.",
        subcommands: [List.self, Detach.self, Attach.self, Adopt.self, Resolve.self, Forget.self],
        defaultSubcommand: List.self)

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Show the redirect log and the images with blocks in it.")

        @OptionGroup var control: ControlArguments

        func run() throws {
            let tier = try control.ask(ControlRequest(.tier), \.tier)
            if control.json { try printJSON(tier) } else { try TierTable.show(tier) }
        }
    }

    struct Detach: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "detach", abstract: "Move everything to the images and take the redirect log out of use.",
            discussion: "Afterwards the device can be taken away. It is also the way out when the log has failed.")

        @OptionGroup var control: ControlArguments

        @Flag(help: "Lose the blocks that the log cannot give: images are served as they were before these writes.")
        var giveUp = false

        func run() throws {
            let tier = try control.ask(ControlRequest(.detach, givesUp: giveUp), \.tier)
            if control.json { try printJSON(tier) } else { try say(TierTable.line(tier)) }
        }
    }

    struct Resolve: ParsableCommand {
        enum Side: String, ExpressibleByArgument, CaseIterable {
            case log, file
        }

        static let configuration = CommandConfiguration(
            commandName: "resolve",
            abstract:
                "Serve an image again that another program changed, or replaced, while the log had newer blocks of it.",
            discussion: """
                Such an image is refused, since nobody but you can know what it should be: a backup that was copied over \
                it (keep the file), or the same disk, touched by a tool that changed nothing (keep the log). So is another \
                file in the place of one that cannot be opened, a copy on a new disk or a backup that was put there: it \
                may be kept; the log's blocks cannot be laid over it.
                """)

        @OptionGroup var control: ControlArguments

        @Argument(help: "The image.")
        var image: String

        @Option(help: "What counts: the log, which is laid over the file, or the file; the log's blocks are lost then.")
        var keep: Side

        func run() throws {
            let request = ControlRequest(.resolve, image: image, keepsLog: keep == .log)
            let tier = try control.ask(request, \.tier)
            if control.json { try printJSON(tier) } else { try say(TierTable.line(tier)) }
        }
    }

    struct Forget: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "forget", abstract: "Lose what the log has of an image whose file cannot be opened.",
            discussion: """
                A file that was removed on the server cannot be told from one that its disk does not give at the moment: \
                its blocks are kept until you say that it is gone. IMAGE is a path as tier list shows it, or an identity \
                as tier list --json does.
                """)

        @OptionGroup var control: ControlArguments

        @Argument(help: "The image.")
        var image: String

        func run() throws {
            let tier = try control.ask(ControlRequest(.forget, image: image), \.tier)
            if control.json { try printJSON(tier) } else { try say(TierTable.line(tier)) }
        }
    }

    struct Attach: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "attach", abstract: "Take the redirect log into use, after detach or a failure.")

        @OptionGroup var control: ControlArguments

        func run() throws {
            let tier = try control.ask(ControlRequest(.attach), \.tier)
            if control.json { try printJSON(tier) } else { try say(TierTable.line(tier)) }
        }
    }

    struct Adopt: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "adopt", abstract: "Take a redirect log into use that is not as the server left it.",
            discussion: """
                A log that is an older copy, or in another file than before, is refused: blocks that clients wrote may be \
                missing in it, and older ones would be served. This is for when there is no other, or when you have \
                moved it yourself.
                """)

        @OptionGroup var control: ControlArguments

        func run() throws {
            let tier = try control.ask(ControlRequest(.adopt), \.tier)
            if control.json { try printJSON(tier) } else { try say(TierTable.line(tier)) }
        }
    }
}

/// How the redirect log does, for people.
enum TierTable {
    static func line(_ tier: TierStatus) -> String {
        guard tier.state != .none else { return "none" }
        let place = tier.directories.isEmpty ? "" : " at \(tier.directories.joined(separator: ", "))"
        let use =
            tier.size == 0
            ? "" : ", \(formatted(bytes: tier.liveBytes)) to move, \(decimal(tier.fullness * 100, places: 0)) % full"
        let failure = tier.failure.map { ": \($0)" } ?? ""
        let modes = tier.modes.isEmpty ? "" : " (\(tier.modes.joined(separator: ", ")))"
        return "\(tier.state.rawValue)\(place), mode \(tier.mode)\(modes)\(use)\(failure)"
    }

    static func show(_ tier: TierStatus) throws(ExitCode) {
        try say(line(tier))
        guard !tier.images.isEmpty else { return }
        let rows = tier.images.map { image in
            [
                image.path, image.liveBytes.map { formatted(bytes: $0) } ?? "unknown",
                image.isOrphaned ? "orphaned" : image.isRefused ? "refused" : "served", image.reason ?? "",
            ]
        }
        try say(rows: [["IMAGE", "IN THE LOG", "STATE", "REASON"]] + rows)
    }
}
