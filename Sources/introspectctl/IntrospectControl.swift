import ArgumentParser
import Control
import Datastore

@main
struct IntrospectControl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "introspectctl",
        abstract: "Asks and tells a running introspectd.",
        discussion: """
            It talks to the server through a local socket in the server's state directory, which only the server's \
            user and root can open. IMAGE is a path as `introspectctl images` shows it, or as much of its end as no \
            other image shares.

            Exit status: 0 when it was done; 1 when the server could not do it, or its answer cannot be printed; 2 when \
            there is no such image; 64 for a command line that makes no sense; 69 when no server answers.
            """,
        subcommands: [
            StatusCommand.self, ImagesCommand.self, TopCommand.self, DrainCommand.self, WarmCommand.self,
            TierCommand.self, StatisticsCommand.self,
        ])
}

/// What every subcommand takes, and how it asks.
struct ControlArguments: ParsableArguments {
    /// The exit statuses that the help documents.
    private enum ExitStatus {
        static let failed = ExitCode(1)
        static let noImage = ExitCode(2)
        static let noServer = ExitCode(69)
    }

    @Option(
        help: ArgumentHelp(
            "The server's socket. (default: `control` in the state directory, see introspectd --state)",
            valueName: "path"),
        completion: .file())
    var control: String?

    @Flag(help: "Print JSON.")
    var json = false

    /// The answer to `request`; an error is printed, and ends the program.
    func send(_ request: ControlRequest) throws -> ControlReply {
        let reply: ControlReply
        do {
            let path = try control ?? "\(DatastoreConfiguration.defaultStateDirectory())/\(ControlServer.socketName)"
            reply = try ControlClient(path: path).send(request)
        } catch let error as DatastoreError {
            throw complain(error.message, ExitStatus.noServer)
        } catch {
            throw complain("\(error)", ExitStatus.noServer)
        }
        guard let error = reply.error else { return reply }
        throw complain(error.message, error.code == .noImage ? ExitStatus.noImage : ExitStatus.failed)
    }

    /// The part of the answer that was asked for.
    func ask<Part>(_ request: ControlRequest, _ part: (ControlReply) -> Part?) throws -> Part {
        guard let part = part(try send(request)) else {
            throw complain("the server's answer lacks what was asked for", ExitStatus.failed)
        }
        return part
    }
}
