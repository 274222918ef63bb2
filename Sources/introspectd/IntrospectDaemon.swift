import ArgumentParser

@main
struct IntrospectDaemon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "introspectd",
        abstract: "Serves disk images over NFSv3, and looks into them to do it faster.",
        discussion: """
            Exit status: 0 when it was told to stop (its last lines say so when not everything could be put on stable \
            storage); 1 when it cannot serve, for the reason on standard error; 64 for a command line that makes no sense.
            """,
        subcommands: [Serve.self])
}
