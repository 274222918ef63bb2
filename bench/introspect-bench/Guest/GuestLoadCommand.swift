import ArgumentParser
import TestBed

/// `introspect-bench guest-load`: the loads that a guest runs in a benchmark.
struct GuestLoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "guest-load",
        abstract: "Create files, or read and write them as a web or mail server does; tell what was done.")

    enum Load: String, ExpressibleByArgument, CaseIterable {
        case create, webserver, varmail
    }

    @Argument(help: "What to do: create, webserver or varmail.")
    var load: Load

    @Argument(help: "The directory: new for create, otherwise the one that the files of --list are in.")
    var directory: String

    @Option(help: "Files to create, or loops to do.")
    var count: Int

    @Option(help: "A file with the paths of the files below the directory, a line each.")
    var list: String?

    @Option(help: "Names the sequence of steps.")
    var seed: UInt64 = 1

    func run() throws {
        let files = try list.map { try readText(of: $0).split(separator: "\n").map(String.init) } ?? []
        guard load == .create || files.count >= 64 else { throw ValidationError("--list must name 64 files or more") }
        switch load {
        case .create: say(try GuestLoad.create(in: directory, count: count, seed: seed))
        case .webserver: say(try GuestLoad.serveWeb(from: directory, files: files, count: count, seed: seed))
        case .varmail: say(try GuestLoad.deliverMail(in: directory, files: files, count: count, seed: seed))
        }
    }
}
