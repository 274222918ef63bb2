import ArgumentParser

@main
struct IntrospectDaemon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "introspectd",
        abstract: "Serves disk images over NFSv3, and looks into them to do it faster.",
        subcommands: [Serve.self])
}
